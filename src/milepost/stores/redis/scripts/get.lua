-- get: the record, and when it was read.
-- KEYS  1 record
-- Gives nil unknown | the record
-- needs: clock snapshot
local record = snapshot(KEYS[1], clock())
return #record > 2 and record
