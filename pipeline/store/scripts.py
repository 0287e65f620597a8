"""Lua scripts that Redis runs: each makes all of its changes at once, or none.

Every script gets the keys of ``Keys.types`` in that order, and the session's id as its first
argument. It answers with a list whose first item says how it went:

ok …              done; the rest is the script's own
missing           there is no such session
refused <state>   not in this state
superseded        another worker has become the writer
limit <n> <name>  the limit of this name, n, would be exceeded

A field that maskstream cannot have written ends a script with ``CORRUPT <key> <field>`` before
anything is changed.
"""

from __future__ import annotations

from maskstream.pipeline.store.keys import RUNTIMES_GROUP
from maskstream.pipeline.store.scripts_of_frames import FRAME_SCRIPTS
from maskstream.pipeline.store.scripts_of_logs import LOG_SCRIPTS
from maskstream.pipeline.store.scripts_of_sessions import SESSION_SCRIPTS

_PRELUDE = (
    """
local SESSION, SECRET, JOURNAL, OUTCOMES, REQUESTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RESULTS, CHECKPOINT, EVENTS, FRAMES, PUSHED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local NUM_OF_SESSION = 10
local SESSIONS, OWNERS, LIMITS, WORK = KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local GROUP = '"""
    + RUNTIMES_GROUP
    + """'
local id = ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function field(name)
  local value = redis.call('HGET', SESSION, name)
  if not value then error('CORRUPT ' .. SESSION .. ' ' .. name .. '.') end
  return value
end
local function number(name)
  local value = tonumber(field(name))
  if not value then error('CORRUPT ' .. SESSION .. ' ' .. name .. '.') end
  return value
end
-- A server that is out of memory refuses the first write of a script if it could need memory. If it
-- lets the first write pass, it lets all pass. These two write nothing: need_room ends the script
-- when the server is full, even_when_full has all writes pass, for those that free memory or hardly
-- take any.
local function need_room() redis.call('SETRANGE', SECRET, 0, '') end
local function even_when_full() redis.call('HDEL', SESSION, '') end
local life = nil
local function alive()
  if redis.call('EXISTS', SESSION) == 0 then return false end
  life = number('expire_ms')
  return true
end
local function limit(name)
  local read, limits = pcall(cjson.decode, field('limits'))
  if not read or type(limits) ~= 'table' or type(limits[name]) ~= 'number' then
    error('CORRUPT ' .. SESSION .. ' limits.')
  end
  return limits[name]
end
local function pushed(name)
  local value = tonumber(redis.call('HGET', PUSHED, name) or '')
  if not value then error('CORRUPT ' .. PUSHED .. ' ' .. name .. '.') end
  return value
end
local function superseded(writer)
  return writer ~= '' and number('writer') ~= tonumber(writer)
end
-- Redis expires a key once its time has passed, not when it is reached. The list of sessions
-- follows the same rule, so that a session is in both or in neither.
local function touch()
  for i = 1, NUM_OF_SESSION do redis.call('PEXPIREAT', KEYS[i], now + life) end
  redis.call('ZADD', SESSIONS, 'XX', now + life, id)
end
local function forget_expired()
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', SESSIONS, '-inf', '(' .. now)) do
    redis.call('ZREM', SESSIONS, gone)
    redis.call('HDEL', OWNERS, gone)
  end
end
local function notify(what)
  redis.call('XADD', EVENTS, 'MAXLEN', 8, '*', 'e', what)
end
local function last_event()
  local newest = redis.call('XREVRANGE', EVENTS, '+', '-', 'COUNT', 1)[1]
  return newest and newest[1] or '0-0'
end
-- The ids of a stream are our sequences. If something else adds an entry with a higher id, ours
-- would be refused for ever, since the last id of a stream cannot be lowered. Then the log is
-- written anew without that entry.
local function without_strangers(key, sequence)
  local old, from, last = key .. '~', '-', string.format('%.0f', sequence - 1)
  redis.call('RENAME', key, old)
  repeat
    local some = redis.call('XRANGE', old, from, last, 'COUNT', 256)
    for _, item in ipairs(some) do
      redis.call('XADD', key, item[1], unpack(item[2]))
      from = '(' .. item[1]
    end
  until #some == 0
  redis.call('DEL', old)
end
local function append(key, sequence, entry)
  local name = string.format('%.0f-0', sequence)
  local done = redis.pcall('XADD', key, name, 'entry', entry, 'ms', now)
  if type(done) == 'table' and done.err then
    if string.find(done.err, 'equal or smaller') then without_strangers(key, sequence) end
    redis.call('XADD', key, name, 'entry', entry, 'ms', now)
  end
end
-- A checkpoint's arguments, from one index on: epoch, step, journal_sequence, result_sequence,
-- meta, blob.
local function refuse_checkpoint(at, settled)
  local published = number('result_sequence')
  local journal, result, blob = ARGV[at + 2], ARGV[at + 3], ARGV[at + 5]
  if tonumber(journal) > settled then return {'ahead', 'journal_sequence', journal, settled} end
  if tonumber(result) > published then return {'ahead', 'result_sequence', result, published} end
  local most = limit('max_checkpoint_bytes')
  if #blob > most then return {'limit', most, 'max_checkpoint_bytes'} end
end
local function put_checkpoint(at)
  local epoch = tonumber(redis.call('HGET', CHECKPOINT, 'epoch') or -1)
  local step = tonumber(redis.call('HGET', CHECKPOINT, 'step') or -1)
  if epoch and step then
    local new_epoch, new_step = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if new_epoch < epoch or (new_epoch == epoch and new_step < step) then return 0 end
  end
  redis.call('HSET', CHECKPOINT, 'epoch', ARGV[at], 'step', ARGV[at + 1], 'meta', ARGV[at + 4],
    'blob', ARGV[at + 5])
  return 1
end
local function no_more_work()
  local item = redis.call('HGET', SESSION, 'work_id')
  if item and item ~= '' then
    redis.pcall('XACK', WORK, GROUP, item)
    redis.pcall('XDEL', WORK, item)
  end
end
"""
)

SCRIPTS = {
    name: _PRELUDE + body for name, body in (SESSION_SCRIPTS | LOG_SCRIPTS | FRAME_SCRIPTS).items()
}
