-- Forgets jobs that are done. ARGV: (id, token)*. Returns how many were leased with that token.
local ids, entries = ids_and_entries()

local finished, done, seen, leased, to_wake = {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local job, lane, merchant, token, again = parse(entries[i] or '')
  if job and token == ARGV[2 * i] and not seen[id] then
    seen[id] = true
    finished[#finished + 1] = id
    leased[lane] = (leased[lane] or 0) + 1
    if again == '' then
      done[#done + 1] = id
    else
      wait_at_the_end(id, job, lane, merchant)
      to_wake[groups[lane]] = true
    end
  end
end
if #finished > 0 then redis.call('ZREM', leases, unpack(finished)) end
if #done > 0 then redis.call('HDEL', jobs, unpack(done)) end
for lane, number in pairs(leased) do count('leased', lane, -number) end
wake_workers(to_wake)
return #finished
