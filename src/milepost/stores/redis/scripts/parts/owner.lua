-- Whether an owner is the given one, or one process of the given incarnation.
local function is_owned(owner, by)
  return owner and (owner == by or string.sub(owner, 1, #by + 1) == by .. ':')
end
