-- The statuses that nothing but reopen leads out of.
local ENDED = { succeeded = true, failed = true, cancelled = true }
