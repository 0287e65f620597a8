"""Scripts for the frames that a client pushes.

They stand behind the prelude of :mod:`maskstream.pipeline.store.scripts`, which says what they
answer.
"""

from __future__ import annotations

FRAME_SCRIPTS = {
    # whether it is the end, pts or '', blob, states that take frames…
    "push_frame": """
if not alive() then return {'missing'} end
if redis.call('EXISTS', PUSHED) == 0 then return {'not_pushed'} end
local state = field('state')
local open = false
for i = 5, #ARGV do open = open or ARGV[i] == state end
if not open then return {'refused', state} end
if #ARGV[4] > limit('max_frame_bytes') then
  return {'limit', limit('max_frame_bytes'), 'max_frame_bytes'}
end
local sequence, taken = pushed('sequence'), pushed('taken')
local waiting, dropped = pushed('waiting'), pushed('dropped')
if ARGV[2] == '1' then
  redis.call('HSET', PUSHED, 'end', 1)
elseif pushed('end') == 1 then
  return {'finished'}
else
  local most = limit('max_waiting_frames')
  local name = string.format('%.0f-0', sequence + 1)
  local done = redis.pcall('XADD', FRAMES, name, 'blob', ARGV[4], 'pts', ARGV[3], 'ms', now)
  if type(done) == 'table' and done.err then
    if not string.find(done.err, 'equal or smaller') then return done end
    -- Something else has added an entry with a higher id. The frames that wait are given up for it.
    redis.call('DEL', FRAMES)
    redis.call('XADD', FRAMES, name, 'blob', ARGV[4], 'pts', ARGV[3], 'ms', now)
    waiting, dropped = 0, dropped + waiting
  end
  sequence, waiting = sequence + 1, waiting + 1
  if waiting > most then
    local first = string.format('%.0f', taken + 1)
    local oldest = redis.call('XRANGE', FRAMES, first, '+', 'COUNT', 1)[1]
    if oldest then redis.call('XDEL', FRAMES, oldest[1]) end
    waiting, dropped = waiting - 1, dropped + 1
  end
  redis.call('HSET', PUSHED, 'sequence', string.format('%.0f', sequence), 'waiting', waiting,
    'dropped', string.format('%.0f', dropped))
end
notify('frame')
touch()
return {'ok', sequence, waiting, dropped}
""",
    # after, done, count
    "take_frames": """
if not alive() then return {'missing'} end
if redis.call('EXISTS', PUSHED) == 0 then return {'not_pushed'} end
local newest, taken, waiting = pushed('sequence'), pushed('taken'), pushed('waiting')
local after, done = tonumber(ARGV[2]), tonumber(ARGV[3])
if after > newest then return {'ahead', newest} end
redis.call('XTRIM', FRAMES, 'MINID', '=', string.format('%.0f', done + 1))
local first = string.format('%.0f', after + 1)
local items = redis.call('XRANGE', FRAMES, first, '+', 'COUNT', ARGV[4])
local last, fresh = taken, 0
for _, item in ipairs(items) do
  local sequence = tonumber(string.match(item[1], '^%d+'))
  if sequence > taken then fresh = fresh + 1 end
  last = math.max(last, sequence)
end
waiting = math.max(0, waiting - fresh)
redis.call('HSET', PUSHED, 'taken', string.format('%.0f', last), 'waiting', waiting)
local is_end = 0
if pushed('end') == 1 and #items < tonumber(ARGV[4]) then is_end = 1 end
touch()
return {'ok', items, pushed('dropped'), is_end, last_event()}
""",
}
