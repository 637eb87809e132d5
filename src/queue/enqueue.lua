-- Adds jobs that are not known yet. ARGV: (id, job)*. Returns how many were new.
local ids, known = ids_and_entries()

-- What is new, by where it waits: the lists in the order in which they get their first job.
local new, entries, lists, list_of = {}, {}, {}, {}
for i, id in ipairs(ids) do
  local entry, job = known[i], ARGV[2 * i]
  if entry then
    local _, _, _, token, again = parse(entry)
    if token ~= '' and token ~= '@' and again == '' then redis.call('HSET', jobs, id, entry .. ' again') end
  elseif not new[id] then
    local _, lane, merchant = parse(job)
    local name = lane .. ':' .. merchant
    local list = list_of[name] or { lane = lane, merchant = merchant, ids = {} }
    if not list_of[name] then
      list_of[name], lists[#lists + 1] = list, list
    end
    list.ids[#list.ids + 1] = id
    new[id] = true
    entries[#entries + 1], entries[#entries + 2] = id, job
  end
end
if #entries == 0 then return 0 end

redis.call('HSET', jobs, unpack(entries))
local to_wake = {}
for _, list in ipairs(lists) do
  add_to_the_end(prefix, list.ids, list.lane, list.merchant)
  to_wake[groups[list.lane]] = true
end
wake_workers(to_wake)
return #entries / 2
