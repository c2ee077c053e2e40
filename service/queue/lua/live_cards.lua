-- Rows {digest, cards} of the live workers, by id; cards are left out for the digests given.
local known = {}
for _, digest in ipairs(ARGV) do known[digest] = true end
local rows = {}
for _, worker in ipairs(live_workers()) do
  local digest = redis.call('HGET', WORKER .. worker, 'digest')
  local cards = known[digest] and '' or redis.call('HGET', WORKER .. worker, 'cards')
  rows[#rows + 1] = {digest, cards}
end
return rows
