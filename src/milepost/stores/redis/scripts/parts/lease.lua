-- Whether a token is the record's: true; 'resent' if it announces a write that is sent again,
-- because the first sending may or may not have arrived; else false. Once a resend was seen,
-- the token before it is no longer the record's, so that a late first sending changes nothing.
local function holds(token, fence, resent)
  if token == (resent and fence .. '.' .. resent or fence) then
    return true
  end
  local mine, times = string.match(token, '^(%d+)%.(%d+)$')
  return mine == fence and tonumber(times) > tonumber(resent or 0) and 'resent'
end
