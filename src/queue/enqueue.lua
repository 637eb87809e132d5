-- Adds jobs that are not known yet. ARGV: (id, lane, merchant)*. Returns how many were new.
local new, to_wake = 0, {}
for i = 1, #ARGV, 3 do
  local id, lane, merchant = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local entry = redis.call('HGET', jobs, id)
  if not entry then
    wait_at_the_end(id, lane, merchant)
    new = new + 1
    to_wake[groups[lane]] = true
  else
    local _, _, token, again = parse(entry)
    if token ~= '' and again == '' then redis.call('HSET', jobs, id, entry .. ' again') end
  end
end
wake_workers(to_wake)
return new
