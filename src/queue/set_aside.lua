-- Moves leased jobs to lines. ARGV: (line, its time from now in milliseconds or -1 for none, how many to fetch then,
-- reason, 1 when this time replaces the one it has, number of jobs, (id, token, place)*)*; a place is "end", "first" of its merchant, or "front". Returns how many were
-- leased with that token.
local moved, now, i = 0, now(), 1

local function move(line, id, token, place)
  local entry = redis.call('HGET', jobs, id)
  if not entry then return 0 end
  local job, lane, merchant, held = parse(entry)
  if held ~= token then return 0 end
  redis.call('ZREM', leases, id)
  redis.call('HSET', jobs, id, job .. ' @ ' .. line)
  count('leased', lane, -1)
  count('aside', lane, 1)
  if place == 'front' then
    add_to_the_front(base_of(line), id, lane)
  elseif place == 'first' then
    add_before_its_merchants(base_of(line), id, lane, merchant)
  else
    add_to_the_end(base_of(line), { id }, lane, merchant)
  end
  return 1
end

while i <= #ARGV do
  local line, after, at_most, reason, replaces, number = unpack(ARGV, i, i + 5)
  i = i + 6
  local added = 0
  for _ = 1, tonumber(number) do
    added = added + move(line, ARGV[i], ARGV[i + 1], ARGV[i + 2])
    i = i + 3
  end
  if added > 0 then redis.call('ZINCRBY', sizes, added, line) end
  if redis.call('ZSCORE', sizes, line) then
    local before = redis.call('ZSCORE', lines, line)
    local at = after == '-1' and math.huge or now + tonumber(after)
    if replaces == '1' or not before or at < tonumber(before) then
      redis.call('ZADD', lines, at == math.huge and '+inf' or at, line)
      redis.call('HSET', facts, line, at_most .. ' ' .. reason)
    end
  end
  moved = moved + added
end
return moved
