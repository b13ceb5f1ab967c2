-- purge: forget jobs among all jobs whose records have expired, in one stretch, oldest first.
-- KEYS  1 jobs (the records are <prefix><job id>})
-- ARGV  1 prefix  2 how many jobs to leave out  3 how many to look at  4 retention ms: a younger
--       job cannot have expired
-- Owns  the places among the jobs.
-- Gives {how many it looked at, how many are forgotten}
-- needs: clock
local stretch = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1, 'WITHSCORES')
local oldest, looked, gone = clock() - ARGV[4], 0, {}
for i = 1, #stretch, 2 do
  if tonumber(stretch[i + 1]) > oldest then
    break
  end
  looked = looked + 1
  if redis.call('EXISTS', ARGV[1] .. stretch[i] .. '}') == 0 then
    gone[#gone + 1] = stretch[i]
  end
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
end
return { looked, #gone }
