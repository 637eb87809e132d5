-- Comes before each of the other scripts. KEYS[1] is the key `since`: the moment, in microseconds, from which on this
-- server knows what was taken. Before it the server was empty, or processes counted by themselves.
--
-- ARGV[1] is a clock for tests, else empty: then it is this server's. A number of microseconds has 16 digits and tostring
-- writes 14, so numbers are written with string.format.
local function written(number)
  return string.format('%.0f', number)
end

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[1])
end

local SECOND = 1000000
-- How long after a return all processes begin to count here again; see resume.lua.
local GRACE = 300000

local function begin_at(moment)
  redis.call('SET', KEYS[1], written(moment))
  return moment
end
