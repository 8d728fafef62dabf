-- `surefoot.rules.token_bucket.slices.settle`, on the server: the same decisions on the same state. A test holds the two against each other.
-- KEYS[1]: the target's state. ARGV[1]: a ShareTurn. ARGV[2]: the time in seconds, "" for the server's own.
-- Before this text stand tables of the fields' places (TURN, STATE, MEMBER) and the constants of the rules.
local turn = cmsgpack.unpack(ARGV[1])
local function T(name) return turn[TURN[name]] end
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local raw = redis.call('GET', KEYS[1])
local state = raw and cmsgpack.unpack(raw) or {0, 0, 0, 0, 0, false, false, 0, 0, 0, {}, {}, {}}
local function S(name) return state[STATE[name]] end
local function put(name, value) state[STATE[name]] = value end
local members, fleet, sent = S('members'), S('fleet'), S('sent')

local function pace(limit, burst)
  local slow = limit / (WINDOW_S + VALID_S + BURST_S)
  if burst > slow * BURST_S then return math.max(math.min(slow, (limit - burst) / (WINDOW_S + VALID_S)), 0.5 * slow) end
  return slow
end
local function share(available, want, others, least)
  if available <= 0 or want <= 0 or available < least then return 0 end
  return math.max(math.min(want, available * want / (want + others)), math.min(least, want))
end

local is_new = S('at') == 0
local since_s = is_new and 0 or math.max(0, now - S('at'))
local mine = members[T('member')]
local counts = mine == nil or T('seq') > mine[MEMBER.seq]

-- what the process has seen
if counts then
  if T('ok') > 0 or T('bad') > 0 then
    local second = math.floor(now)
    local had = fleet[second] or {0, 0}
    fleet[second] = {had[1] + T('ok'), had[2] + T('bad')}
    for one, _ in pairs(fleet) do if one <= now - FLEET_S then fleet[one] = nil end end
  end
  local slot = math.floor(now / SENT_S)
  local had = sent[slot] or {0, 0}
  sent[slot] = {had[1] + T('sent_r'), had[2] + T('sent_t')}
  for one, _ in pairs(sent) do if one <= slot - SENT_SLOTS then sent[one] = nil end end
  if T('heard_r') > 0 then put('limit_r', T('heard_r')); put('is_guess_r', false) end
  if T('heard_t') > 0 then put('limit_t', T('heard_t')); put('is_guess_t', false) end
  if T('pause_s') > 0 then put('paused_until', math.max(S('paused_until'), now + math.min(T('pause_s'), PAUSE_CEILING_S))) end
  if (T('refused_r') > 0 or T('refused_t') > 0) and now - S('learned_at') >= RELEARN_S then
    put('learned_at', now)
    local last = sent[slot - 1]
    local span_s = math.max(now % SENT_S + (last and SENT_S or 0), 1)
    last = last or {0, 0}
    for kind, place in pairs({r = 1, t = 2}) do
      local limit, guess = 'limit_' .. kind, 'is_guess_' .. kind
      if T('refused_' .. kind) > 0 and T(limit) == 0 and (S(guess) or S(limit) == 0) then
        local found = LEARNED_SHARE * math.max((sent[slot][place] + last[place]) * WINDOW_S / span_s, 1)
        put(limit, S(limit) > 0 and math.min(found, S(limit)) or found)
        put(guess, true)
      end
    end
    put('r', math.min(S('r'), 0)); put('t', math.min(S('t'), 0))
  end
end

-- what there is
local limit_r, limit_t = T('limit_r') > 0 and T('limit_r') or S('limit_r'), T('limit_t') > 0 and T('limit_t') or S('limit_t')
put('peak_t', math.max(T('head_t'), S('peak_t') * 0.5 ^ (since_s / WINDOW_S)))
local large_t = math.min(PEAK_SLACK * S('peak_t'), 0.5 * limit_t)
local rate_r, rate_t = pace(limit_r, 0), pace(limit_t, large_t)
local cap_r, cap_t = math.max(1, rate_r * BURST_S), math.max(rate_t * BURST_S, large_t)
local r, t = S('r'), S('t')
if is_new then r, t = 1, math.min(cap_t, T('head_t')) end
if counts then r, t = r + T('back_r'), t + T('back_t') end
r, t = math.min(cap_r, r + rate_r * since_s), math.min(cap_t, t + rate_t * since_s)
if since_s > DEAD_S then r = math.min(r, 1) end

-- the others
local all = {want_r = 0, want_low_r = 0, want_t = 0, want_low_t = 0, slots = 0, want_c = 0, want_low_c = 0}
local processes, first = 1, nil
local is_low = T('want_r') == 0 and T('want_t') == 0
local head_since = mine and mine[MEMBER.head_since] > 0 and mine[MEMBER.head_since] or now
local count = 1
for name, one in pairs(members) do
  if name ~= T('member') and now - one[MEMBER.beat] <= DEAD_S then count = count + 1 end
end
local function is_starved(one)
  local due_r = rate_r > 0 and one[MEMBER.head_r] / rate_r or 0
  local due_t = rate_t > 0 and one[MEMBER.head_t] / rate_t or 0
  return now - one[MEMBER.head_since] > math.max(STARVED_S, STARVED_TURNS * count * math.max(due_r, due_t))
end
for name, one in pairs(members) do
  if now - one[MEMBER.beat] > DEAD_S then members[name] = nil
  elseif name ~= T('member') then
    processes = processes + 1
    for word, sum in pairs(all) do all[word] = sum + one[MEMBER[word]] end
    local since = one[MEMBER.head_since]
    if since > 0 and since < head_since and (is_low or one[MEMBER.want_r] > 0 or one[MEMBER.want_t] > 0) and is_starved(one) then
      if not first or since < first[MEMBER.head_since] then first = one end
    end
  end
end
local kept_r, kept_t = first and first[MEMBER.head_r] or 0, first and first[MEMBER.head_t] or 0

-- what is granted
local is_paused, grant_r, grant_t = now < S('paused_until'), 0, 0
if limit_r > 0 and not is_paused then
  local has_none = T('want_r') == 0
  grant_r = math.floor(share(r - kept_r, T('want_r'), all.want_r, has_none and 0 or T('head_r')))
  local left = r - kept_r - grant_r - all.want_r
  grant_r = grant_r + math.floor(share(left, T('want_low_r'), all.want_low_r, has_none and T('head_r') or 0))
end
if limit_t > 0 and not is_paused then
  local head_t, has_none = math.min(T('head_t'), cap_t), T('want_t') == 0
  grant_t = share(t - kept_t, T('want_t'), all.want_t, has_none and 0 or head_t)
  local left = t - kept_t - grant_t - all.want_t
  grant_t = grant_t + share(left, T('want_low_t'), all.want_low_t, has_none and head_t or 0)
  if head_t > 0 and grant_t >= head_t then grant_t = math.max(grant_t, T('head_t')) end
end
local slots = 0
if T('places') > 0 then
  local free = T('places') - all.slots
  local wanted = T('used') + T('want_c')
  local fair = math.max(1, math.floor(T('places') * wanted / math.max(1, wanted + all.slots + all.want_c)))
  slots = math.max(T('used'), math.min(wanted, free, math.max(fair, free - all.want_c)))
  if T('want_low_c') > 0 and T('want_c') == 0 then
    local left = free - slots - all.want_c
    local mine_low = left > 0 and math.max(1, math.floor(left * T('want_low_c') / (T('want_low_c') + all.want_low_c))) or 0
    slots = slots + math.max(0, math.min(T('want_low_c'), left, mine_low))
  end
end
put('r', r - grant_r); put('t', t - grant_t); put('at', now)
local wait_s = 0
local short_r, short_t = grant_r == 0 and T('head_r') > 0, grant_t == 0 and T('head_t') > 0
if limit_r > 0 and short_r then wait_s = math.max(wait_s, (T('head_r') + kept_r - r) / rate_r) end
if limit_t > 0 and short_t then wait_s = math.max(wait_s, (math.min(T('head_t'), cap_t) + kept_t - t) / rate_t) end
if wait_s > 0 then
  local factor = 1 + GROWTH * math.min(since_s, 1)
  if S('is_guess_r') and T('limit_r') == 0 then put('limit_r', S('limit_r') * factor) end
  if S('is_guess_t') and T('limit_t') == 0 then put('limit_t', S('limit_t') * factor) end
end
if T('leaves') then members[T('member')] = nil
else
  members[T('member')] = {
    math.max(T('seq'), mine and mine[MEMBER.seq] or 0), now, math.max(0, T('want_r') - grant_r), T('want_low_r'),
    math.max(0, T('want_t') - grant_t), T('want_low_t'), slots, math.max(0, T('used') + T('want_c') - slots), T('want_low_c'),
    (short_r or short_t) and head_since or 0, short_r and 1 or 0, short_t and math.min(T('head_t'), cap_t) or 0,
  }
end
redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', KEPT_MS)
local ok, bad = 0, 0
for second, one in pairs(fleet) do if second > now - FLEET_S then ok, bad = ok + one[1], bad + one[2] end end
local pause_s = math.max(0, S('paused_until') - now)
return cmsgpack.pack({grant_r, grant_t, slots, processes, math.max(0, wait_s, pause_s), ok, bad, limit_r, limit_t, pause_s})
