-- The job's history with one more line, which comes without its time, as history.py makes it.
-- Over its length (history.LONGEST) it loses whole lines, the oldest first.
local function noted(record, now, line)
  local text = (redis.call('HGET', record, 'history') or '') .. string.format('%.0f', now) .. line
  if #text > 8000 then
    text = string.gsub(string.sub(text, -8001), '^[^\n]*\n', '', 1)
  end
  return text
end
-- A line as history.line makes it, for what only the server knows.
local function line_of(act, by, note)
  local function short(words)
    return (string.gsub(string.sub(words or '', 1, 200), '[%z\t\r\n]', ' '))
  end
  return '\t' .. act .. '\t' .. short(by) .. '\t' .. short(note) .. '\n'
end
