-- Adds jobs that are not known yet. ARGV: (id, job)*. Returns how many were new.
local new, to_wake = 0, {}
for i = 1, #ARGV, 2 do
  local id, entry = ARGV[i], redis.call('HGET', jobs, ARGV[i])
  if not entry then
    local job, lane, merchant = parse(ARGV[i + 1])
    wait_at_the_end(id, job, lane, merchant)
    new = new + 1
    to_wake[groups[lane]] = true
  else
    local _, _, _, token, again = parse(entry)
    if token ~= '' and token ~= '@' and again == '' then redis.call('HSET', jobs, id, entry .. ' again') end
  end
end
wake_workers(to_wake)
return new
