-- tally: how many jobs of each task are in each status, in one stretch of all jobs.
-- KEYS  1 jobs (the records are <prefix><job id>}; those that have expired are skipped)
-- ARGV  1 prefix  2 moment and 3 id of the job to go on behind, "" to begin  4 how many jobs to
--       look at
-- Gives {moment, id of the last job looked at, task, status, number, ...}; an empty moment: no
--       more follow
-- needs: rank
local first = rank_behind(KEYS[1], ARGV[2], ARGV[3])
local stretch = redis.call('ZREVRANGE', KEYS[1], first, first + ARGV[4] - 1, 'WITHSCORES')
local counts, size = {}, #stretch
for i = 1, size, 2 do
  local record = redis.call('HMGET', ARGV[1] .. stretch[i] .. '}', 'task', 'status')
  local task, status = record[1], record[2]
  if status then
    counts[task] = counts[task] or {}
    counts[task][status] = (counts[task][status] or 0) + 1
  end
end
local reply = { '', '' }
if size >= 2 * ARGV[4] then
  reply[1], reply[2] = stretch[size], stretch[size - 1]
end
for task, statuses in pairs(counts) do
  for status, number in pairs(statuses) do
    reply[#reply + 1] = task
    reply[#reply + 1] = status
    reply[#reply + 1] = number
  end
end
return reply
