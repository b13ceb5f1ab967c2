-- Ends a job from outside, for good.
local function finish_off(record, index, job_id, status, reason, retention, nonce)
  redis.call('HSET', record, 'status', status, 'reason', reason, 'ended_at', clock(), 'nonce', nonce)
  redis.call('HDEL', record, 'owner', 'heartbeat_at', 'signal', 'heard', 'due_at', 'error')
  if status == 'failed' then
    redis.call('HSET', record, 'error', reason)
  end
  redis.call('ZREM', index, job_id)
  redis.call('PEXPIRE', record, retention)
  redis.call('PEXPIRE', record .. ':data', retention)
end
