-- Whether a worker is the given one, or one process of the given incarnation.
local function is_of(worker, by)
  return worker and (worker == by or string.sub(worker, 1, #by + 1) == by .. ':')
end
