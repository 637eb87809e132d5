-- Adds bells that are not known. ARGV: (id, lane, merchant)*. Returns how many were new.
local new, rung = 0, {}
for i = 1, #ARGV, 3 do
  local id, lane, merchant = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local standing = redis.call('HGET', bells, id)
  if not standing then
    wait_at_the_end(id, lane, merchant)
    new = new + 1
    rung[groups[lane]] = true
  else
    local _, _, token, again = parse(standing)
    if token ~= '' and again == '' then redis.call('HSET', bells, id, standing .. ' again') end
  end
end
wake_workers(rung)
return new
