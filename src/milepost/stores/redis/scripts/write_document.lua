-- write_document: replace a document if nobody has since it was read.
-- KEYS  1 documents
-- ARGV  1 name  2 version it was read at  3 nonce  4 data
-- Gives 1 written (also by an earlier sending of this call) | 0 it has another version
local kept = redis.call('HGET', KEYS[1], ARGV[1])
local version, nonce = '0', ''
if kept then
  version, nonce = string.match(kept, '^(%d+) (%x+)\n')
end
if nonce == ARGV[3] then
  return 1
end
if version ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], (version + 1) .. ' ' .. ARGV[3] .. '\n' .. ARGV[4])
return 1
