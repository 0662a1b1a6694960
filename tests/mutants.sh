#!/bin/sh
# Small breakages of the server, each of which the simulation must notice: that of a whole server,
# that of backplanes (tests/backplane.rs), that of several servers (tests/room.rs), or the test that
# is named.
#
# Works on copies in cargo's target folder; the tree is not touched, and may change meanwhile. A
# mutant is one line of src changed by sed, wherever that line stands by now; one that is not found,
# or in more than one place, is an error, so that this list follows the code. Prints for each
# whether the sweep failed, as it must, for how many of its seeds and by which check, and at the end
# how many were caught.
#
#   tests/mutants.sh            all; SEEDS (default 500) seeds for each
#   tests/mutants.sh WORD       those with this word in their name
#   MATCH=1 tests/mutants.sh    builds nothing: says of which the line is not found
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}/mutants
case $target in /*) ;; *) target=$PWD/$target ;; esac
whole=$target/whole copy=$target/tree
log=$target/log
only=${1:-}
seeds=${SEEDS:-500}
all=0 caught=0
mkdir -p "$target"
rm -rf "$whole"
mkdir "$whole"
cp -Rp Cargo.toml Cargo.lock build.rs src tests benches examples www deploy "$whole"
# Many builds of one tree with a line changed: quick to build is better than fast. In many small
# units, of which none looks into others, little is compiled anew.
export CARGO_PROFILE_SWEEP_OPT_LEVEL=1 CARGO_PROFILE_SWEEP_DEBUG=0 CARGO_INCREMENTAL=1
export CARGO_PROFILE_SWEEP_LTO=off CARGO_PROFILE_SWEEP_CODEGEN_UNITS=256
# A backtrace for each failing seed tells nothing here.
export CARGO_TARGET_DIR="$target" RUST_BACKTRACE=0 SEEDS="$seeds" LINES=1

# mutant NAME SED-EXPRESSION [TESTS]: TESTS are words for cargo test, or the name of a simulation that
# is not sim.
mutant() {
  case $1 in *"$only"*) ;; *) return ;; esac
  all=$((all + 1))
  rm -rf "$copy"
  cp -Rp "$whole" "$copy"
  find "$copy/src" -name '*.rs' -print | xargs sed -i.before "$2"
  changed=$(find "$copy/src" -name '*.before' -exec sh -c '
      for old; do diff "$old" "${old%.before}" || true; done' sh {} + | grep -c '^>' || true)
  # A file that did not change has its old time again, so that cargo looks at one only.
  find "$copy/src" -name '*.before' -exec sh -c '
      for old; do
        if cmp -s "$old" "${old%.before}"; then mv "$old" "${old%.before}"; else rm "$old"; fi
      done' sh {} +
  if [ "$changed" -ne 1 ]; then
    echo "$1: $changed lines of src are like that, not one"
    [ -n "${MATCH:-}" ] || exit 1
    return
  fi
  if [ -n "${MATCH:-}" ]; then
    caught=$((caught + 1))
    return
  fi
  cd "$copy"
  case ${3:-sim} in
    --*) tests=$3 ;;
    *) tests="--test ${3:-sim} whatever_happens" ;;
  esac
  # shellcheck disable=SC2086
  if ! cargo test --profile sweep $tests --no-run >"$log" 2>&1; then
    cat "$log"
    echo "$1: does not build"
    exit 1
  fi
  status=0
  # shellcheck disable=SC2086
  timeout 300 cargo test --profile sweep $tests >"$log" 2>&1 || status=$?
  cd "$target"
  if [ "$status" -eq 0 ]; then
    echo "SURVIVED  $1"
    return
  fi
  caught=$((caught + 1))
  if [ "$status" -eq 124 ]; then
    echo "caught    $1: it does not come to an end"
    return
  fi
  check=$(grep -A1 'panicked at' "$log" | sed -n 2p | cut -c1-70)
  if [ $# -gt 2 ]; then
    echo "caught    $1: by $check"
    return
  fi
  failed=$(sed -n 's/^failed: \[\(.*\)\]$/\1/p' "$log" | tr ',' '\n' | grep -c . || true)
  echo "caught    $1: $failed of $seeds, the first by: $check"
}

# The rest of a half-written record is forgotten: own bytes land inside of it.
mutant "own bytes inside a record" \
  's/cursor.offset < boundary && (own_left > 0 || self.close.is_some())/false/'
# A close frame does not wait for what was published before it.
mutant "a close before its barrier" \
  's/self.hub.feed(channel, dialect).reach(cursor.offset).offset/Offset::default()/'
# Members that were appended for behind a sweep are not visited again.
mutant "a sweep without a second one" \
  's/sweep.again = Some(Again { stop: sweep.index, since_us });/let _ = since_us;/'
# A socket that was full is never written to again.
mutant "writable ignored" \
  's/if readiness.writable \&\& marks.take(Packed::BLOCKED) {/if readiness.writable \&\& !marks.has(Packed::BLOCKED) {/'
# A short read counts as the end of what there is, although the peer's end stands behind it.
mutant "the end behind the bytes forgotten" \
  's/arrived == asked || marks.more_behind;/arrived == asked;/'
# Whether a message is too big depends on who is there.
mutant "too big for some" \
  's/Dialect::ALL.into_iter().all(fits)/fits(Dialect::Plain)/'
# Members that do not read are waited for without an end.
mutant "publishers never resumed" \
  's/self.grace_until = None;/self.grace_until = Some(Instant::NEVER);/'
# A channel forgets to count what is said in it.
mutant "a message without a number" \
  's/(self.number, self.position) = (number, newest);/self.position = newest;/'
# Publishers of a room that was waited for do not take turns.
mutant "who had a word is first again" \
  's/self\.paused\[usize::from(had_its_say)\]/self.paused[usize::from(false \&\& had_its_say)]/'
# A deadline that has changed is not armed.
mutant "arming: a change arms nothing" \
  's/            self.wheel.set(slot, self.due(slot));//'
# Who ends stays in the list of those that are to send.
mutant "lists: who ends keeps its turn to send" \
  's/^        self.stop_sending(slot);//'
# A message that comes back with its place is taken for that of whoever spoke last.
mutant "door: a place is somebody else's" \
  's/let index = elsewhere.index(ticket);/let index = (elsewhere.index(ticket) + 1) % elsewhere.handed_out;/'
# A message that comes back with its place does not wait for readers of those before it.
mutant "door: nobody is waited for" \
  '/pub fn place(/,/^    }/s/self.holds_order(channel)/false/'
# Publishers go on while no further message may wait for its place.
mutant "door: never closed" \
  's/        self.closed || self.holds_messages()/        self.holds_messages()/'
# The pool gets nothing back when a connection ends.
mutant "a leak at the end" \
  's/entry.conn.end(pool);/let _ = pool;/'
# A connection that has ended is not inert: what is done with it goes on.
mutant "an end that is not final" \
  's/        self.enter(Phase::Leaving(Leaving::Over));//'
# Sessions that have ended stay in their table.
mutant "session: the ended are not reaped" \
  's/self.sessions.reap(&mut self.pool);//'
# A vanished peer is pinged and then forgiven.
mutant "no pong is no matter" \
  's/return Step::Cut(CloseReason::PingTimeout);/self.pinged = None;/'
# The socket is dropped without reading what still comes.
mutant "no lingering" \
  's/let by = now.plus(limits::LINGER_LIMIT);/let by = now;/'
# Drains tell everyone and cut nobody.
mutant "a drain without end" \
  's/drain.ends.plus(limits::DRAIN_CUT_LIMIT)/Instant::NEVER/'

# Connections with answers to send may take all of a pass, as long as there are any.
mutant "attack: no share for sweeps" \
  's/(Part::Sweeps, limits::SWEEP_SENDS_MIN),/(Part::Sweeps, 0),/'
# Held polls have what the others leave.
mutant "attack: no share for polls" \
  's/(Part::Polls, limits::POLL_SENDS_MIN),/(Part::Polls, 0),/' \
  "--test regression shares::"
# Rooms, and sessions that poll, may keep answers from being sent.
mutant "attack: a part is never given up" \
  's/self.sends <= self.kept || self.visits == 0/self.sends == 0 || self.visits == 0/'
# All frames that were read are taken in at once.
mutant "attack: frames for nothing" \
  's/self.reading.budget.spend_units(u32::from(is_packet));/let _ = is_packet;/'
# All packets of a POST are taken in at once.
mutant "attack: packets for nothing" \
  's/if self.has_said_enough(id.slot) \&\& !is_forced || self.hold_back(now, id) {/if self.hold_back(now, id) {/'
# Who enters and leaves pays what a ping costs.
mutant "attack: entering for nothing" \
  's/^        self.reading.budget.spend_units(limits::JOIN_UNITS);/        self.reading.budget.spend_units(0);/' \
  "--test regression shares::"

# Some events are not acknowledged.
mutant "session: an acknowledgement skipped" \
  's/ack.filter(|_| is_member)/ack.filter(|number| is_member \&\& number % 5 > 0)/'
# A newcomer begins in front of its own greeting.
mutant "session: a greeting to oneself" \
  's/start.mark = self.hub.feed(channel, newcomer.dialect).mark();/let _ = \&mut start.mark;/'
# Only the first newcomer is greeted.
mutant "session: a greeting that is said once" \
  's/self.settings.greeting = greeting;/let _ = greeting;/'
# A session that moves to its WebSocket goes on from the head.
mutant "session: an upgrade that drops records" \
  's/\(let first = session.spaces.first().map(|space| (space.channel()\), space.cursor));/\1, self.hub.feed(space.channel(), dialect).mark()));/'
# What a poll was answered with is told again by the next.
mutant "session: a poll answered twice" \
  's/space.cursor = until;/let _ = until;/'
# Whoever changes a session does not have its deadline armed.
mutant "session: a deadline that is not armed" \
  's/self.wheel.set(self.slot, self.session.deadline(self.pings));//'
# A session that has ended still has its poll answered.
mutant "session: the ended wait for an answer" \
  's/self.answers.remove(ANSWERS, id.slot);//'
# A session that says nothing any more is kept.
mutant "session: never timed out" \
  's/self.close_session(now, session_id, CloseReason::PingTimeout, Farewell::Cut);/self.sessions.edit(session_id).heard(now.mono, true);/'
# While a WebSocket proves itself its poll waits for data.
mutant "session: an upgrade that is waited for" \
  's/} else if session.upgrade.is_some_and(|upgrade| upgrade.probed) {/} else if session.upgrade.is_some_and(|upgrade| !upgrade.probed) {/'
# Who upgrades without a probe never gets its poll back.
mutant "session: an upgrade that loses the poll" \
  's/^        self.stop_polling(session_id);//'
# Who leaves a namespace is told all the same.
mutant "session: leaving ignored" \
  's/self.leave_space(now, session_id, space);/let _ = space;/'
# A session in several namespaces hears of one.
mutant "session: one namespace only" \
  's/let mut others = (1..count).map(/let mut others = (count..count).map(/'
# Plain clients do not get what is said as binary.
mutant "session: binary for sessions alone" \
  's/attachments.get(number).map(|bytes| (Kind::Binary, \*bytes))/attachments.get(number + 1).map(|bytes| (Kind::Binary, *bytes))/'
# Somebody who talks is not pinged, although its client counts pings alone.
mutant "session: talkers not pinged" \
  's/Version::V4 => {}$/Version::V4 => self.heard_at = now,/' \
  '--test regression a_session_that_talks_is_pinged_all_the_same'

# Probes stand in line with everybody else.
mutant "places: probes have none of their own" \
  's/self.connections.taken(from) < places(&self.settings.limits, from)/self.connections.len() < self.settings.limits.slots()/'
# Whoever names no channel needs memory that is left.
mutant "admission: the default channel has nothing set aside" \
  's/if name == DEFAULT_CHANNEL {$/if false {/'
# Sessions that enter no namespace stay, however many they are.
mutant "admission: handshakes keep others out" \
  's/while self.sessions.unentered() > self.settings.limits.unentered_max()/while self.sessions.unentered() > usize::MAX - 1/'

# A backend that asks again says it again.
mutant "backend: repeats are said twice" \
  's/(now < entry.at.plus(REPEAT_LIMIT)).then_some(entry.said)/(now < entry.at).then_some(entry.said)/'
# What a backend is told is where the message before its own stands.
mutant "backend: a wrong position" \
  's/^                Ok(position) => Outcome::Published { position },/                Ok(position) => Outcome::Published { position: position.map(|it| match it { crate::position::Position::Local { epoch, seq } => crate::position::Position::Local { epoch, seq: seq - 1 }, it => it }) },/'
# A channel that keeps something is not made for a backend.
mutant "backend: no channel for what is kept" \
  's/if found.is_some() || self.history.is_none() {/if found.is_some() || self.feed_bytes > 0 {/'
# A disconnect passes over those whose place is the first.
mutant "disconnect: somebody is passed over" \
  's/^            let place = running.looked;/            let place = running.looked.max(1);/'
# A disconnect is answered when all were told, not when they are closed.
mutant "disconnect: answered too early" \
  's/!any_left || until <= now.mono/any_left || until <= now.mono || true/'
# Backends take the places of everybody.
mutant "places: backends have none of their own" \
  's/Listener::Admin => limits.admin_connections_max,/Listener::Admin => 1,/'

# Who comes back does not get the first message that it missed.
mutant "history: off by one at the seam" \
  's/if self.message_of(Seq(middle)) > message {/if self.message_of(Seq(middle)) > message + 1 {/'
# Who comes back gets the last message that it had again.
mutant "history: a record twice" \
  's/} else { feed.after(number) }, since)/} else { feed.after(number.saturating_sub(1)) }, since)/'
# A number is taken for one of the channel's, whatever life it is from.
mutant "history: a position of another epoch believed" \
  's/(epoch == ours \&\& seq <= self.number).then_some(seq)/(epoch == ours || seq <= self.number).then_some(seq)/'
# What a ring has dropped is not known to be missing.
mutant "history: missing forgotten at eviction" \
  's/^            self.missing = \*message;/            let _ = message;/'
# Readers of positions are not told where they begin.
mutant "history: no greeting" \
  '/pub(super) fn upgrade(/,/^    }/s/if dialect == Dialect::ElbowV1 {/if false \&\& dialect == Dialect::ElbowV1 {/'
# Who wants the newest is told the position of the first of them, not of the one before.
mutant "history: a greeting with a wrong position" \
  's/false => feed.message_of(mark.seq) - 1,/false => feed.message_of(mark.seq),/'
# Readers of positions are told of one message too few.
mutant "history: missed is wrong" \
  's/let missed = feed.mark().seq.0 - mark.seq.0;/let missed = (feed.mark().seq.0 - mark.seq.0).saturating_sub(1);/'
# A ring that is filled for its first reader lacks the oldest message that is kept.
mutant "history: a filled ring loses its first record" \
  's/let mut place = self.fill_start();/let mut place = self.feed.next(self.fill_start()).unwrap_or(self.fill_start());/'
# A ring that was not filled counts as having everything.
mutant "history: what is not filled in counts as there" \
  's/Some(_) => (Feed::numbered(feed_bytes, self.number), 0),/Some(_) => (Feed::numbered(feed_bytes, 0), 0),/'
# Age is looked at when a channel ends, and not when somebody wants what is kept.
mutant "history: expired messages are served" \
  '/pub fn prospect(/,/^    }/s/channel.expire_log(now);//'
# One message too few is sent to who wants the newest.
mutant "history: one of the newest too few" \
  's/self.next.saturating_sub(count)/self.next.saturating_sub(count.saturating_sub(1))/'
# A channel ends with its last member, whatever it keeps.
mutant "history: nothing outlives the last member" \
  '/fn end_if_over(/,/^    }/s/if !channel.is_over(now) {/if !channel.is_empty() {/'
# A channel without members goes on for as long again as it should.
mutant "history: a channel lives too long" \
  's/self.record_over_at(newest))/self.record_over_at(newest).plus(self.history.age))/'
# An address is sent what is kept as often as it likes.
mutant "history: a share without end" \
  's/if until <= latest { Ok/if true || until <= latest { Ok/'
# A proxy is charged with what all behind it are sent.
mutant "history: proxies have a share" \
  's/if bytes == 0 || holder.is_proxy || self/if bytes == 0 || self/'

# A token that has expired lets in, for a second.
mutant "tokens: an expired one is taken" \
  's/if self.expires_s <= now_s {/if self.expires_s < now_s {/'
# Whoever shows a token may enter any channel.
mutant "tokens: another channel" \
  '/fn admit_by/,/^    }/s/if !claims.rights.may_join(channel) {/if false {/'
# Whatever stands in the place of the signature is good.
mutant "tokens: any signature" \
  's/if key.checker.has_made(token.signature, token.signed) {/if true || key.checker.has_made(token.signature, token.signed) {/'
# Who may only listen is heard.
mutant "tokens: everybody may speak" \
  's/if !self.may_speak(speaker, channel) {/if false {/'
# Nobody has to leave.
mutant "tokens: a visa without end" \
  's/until: u32::try_from(ticks).unwrap_or(u32::MAX),/until: u32::MAX,/'
# A session stays for longer than its token holds.
mutant "tokens: sessions stay" \
  's/let stay = self.stays_until.min(self.visa.until());/let stay = self.stays_until;/'
# Without a token everybody is let in.
mutant "tokens: none is needed" \
  's/Anonymous::None => return Err(Fault::Missing),/Anonymous::None => false,/'
# Requests that wait for a check are not looked at again.
mutant "tokens: who waits is forgotten" \
  's/let Some(id) = self.connections.next_to_check() else { break };/let Some(id) = self.connections.next_to_check().filter(|_| false) else { break };/'

# A stream begins one further than its client is told.
mutant "stream: an id off by one at the seam" \
  's/    let position = start.position.text();/    let position = match start.position { crate::position::Position::Local { epoch, seq } => crate::position::Position::Local { epoch, seq: seq + 1 }, other => other }.text();/'
# Who comes back to a stream is not told that something is lost.
mutant "stream: no reset" \
  's/=> sse::reset(position.as_str(), out),/=> sse::opening(position.as_str(), out),/'
# What stands in the URL wins over what a browser says when it comes back.
mutant "stream: Last-Event-ID ignored" \
  's/since: last_event_id.or(resume.since)/since: resume.since.or(last_event_id)/'
# Who is put off is not told when to come back.
mutant "stream: put off for ever" \
  's/sse::retry_and_end(retry_ms, &mut chunks);/sse::end(\&mut chunks);/'
# Nothing is seen on a stream in which nobody speaks.
mutant "stream: one comment" \
  's/\*comment_at = cx.now.mono.plus(cx.settings.limits.ping_interval);/*comment_at = Instant::NEVER;/'
# Who was overtaken is told goodbye, as if nothing was lost.
mutant "stream: overtaken in order" \
  's/if conn.out.is_inside_record() || conn.is_stream() {/if conn.out.is_inside_record() {/'
# A drain ends streams without saying when to come back.
mutant "stream: ended without a word" \
  's/if self.connections.conn(slot).is_stream() {/if false {/'

# Greetings do not end in an offset.
mutant "recovery: a greeting without an offset" \
  's/let form = |dialect| Form { dialect, namespace, position, with_offset };/let form = |dialect| Form { dialect, namespace, position, with_offset: with_offset \&\& !message.is_greeting() };/'
# A greeting ends in the offset of the message that comes next.
mutant "recovery: a greeting with an offset ahead" \
  's/^                Position::Local { epoch, seq: number }$/                Position::Local { epoch, seq: number + u64::from(message.is_greeting()) }/'
# What a new ring is filled with has no offsets.
mutant "recovery: no offsets in what is filled in" \
  's/let form = Form { dialect, namespace, position: position.as_str(), with_offset };/let form = Form { dialect, namespace, position: position.as_str(), with_offset: false };/'
# A newcomer is not told where it begins.
mutant "recovery: no position behind CONNECT" \
  's/let begin = pid.filter(|_| !is_recovered)/let begin = pid.filter(|_| false \&\& !is_recovered)/'
# A newcomer is told a place one further than where it begins.
mutant "recovery: a position off by one" \
  's/channel.position_of(feed.had_at(cursor)?)$/channel.position_of(feed.had_at(cursor)? + 1)/'
# Who goes on is greeted like a newcomer, and begins behind that.
mutant "recovery: who never left is greeted" \
  's/ \&\& start.recovery != Some(Recovery::Whole) {/ {/'
# Who has left a namespace goes on there, with what was on its way.
mutant "recovery: who has left goes on" \
  's/Version::V4 => self.settings.recovers() \&\& !session.has_left,/Version::V4 => self.settings.recovers(),/'
# Who is told nothing of what it missed is said to go on.
mutant "recovery: what is gone counts as recovered" \
  's/Ok(Some(Recovery::Gone | Recovery::Unknown) | None) => {}/Ok(_) => recovered = returning.map(|it| it.pid),/'
# An address that had its share is said to be sent all the same.
mutant "recovery: beyond its share nothing is gone" \
  's/start.recovery = wish.since.map(|_| Recovery::Gone);/start.recovery = wish.since.map(|_| Recovery::Whole);/'
# Another id than the one that was named is told to who goes on.
mutant "recovery: another id" \
  's/self.confirm(now, session_id, namespace, \&pid, true);/self.confirm(now, session_id, namespace, \&Sid::new([0; SID_RANDOM_BYTES]), pid.as_str().len() > 0);/'
# Nobody is held back, whatever --message-rate says.
mutant "limits: nobody is held back" \
  's/Some(paid) if rate.left(now.mono, paid) == 0 =>/Some(paid) if false \&\& rate.left(now.mono, paid) == 0 =>/'
# What a WebSocket says does not count.
mutant "limits: frames do not count" \
  's/^                self.charge(now, id.slot);/                let _ = now;/'
# What a POST brings does not count.
mutant "limits: packets of a POST do not count" \
  's/^            self.charge(now, id.slot);/            let _ = now;/'
# Somebody may say twice as much as the operator allows.
mutant "limits: twice the rate" \
  's/(1000 \* PARTS_PER_MS as u32).div_ceil/(500 * PARTS_PER_MS as u32).div_ceil/'
# Who is held back is not read again when it may go on.
mutant "limits: held back and forgotten" \
  's/due.min(self.held_until(slot)).min(self.stays_until(slot))/due.min(self.stays_until(slot))/'
# Plain WebSockets are sent away too late.
mutant "limits: a stay that is too long" \
  's/let least_ms = ms - ms \/ 10;/let least_ms = ms + ms \/ 10;/'
# Whoever stays is sent away too early.
mutant "limits: a stay that is too short" \
  's/let least_ms = ms - ms \/ 10;/let least_ms = ms \/ 2;/'
# Sessions may stay for ever.
mutant "limits: sessions stay for ever" \
  's/if let Some(lifetime) = self.lifetime {/if let Some(lifetime) = self.lifetime.filter(|_| false) {/'

# That Redis has taken a message counts as its place.
mutant "backplane: placed before it is read back" \
  's/sent.stage = Stage::Taken(now);/(sent.stage, sent.placed) = (Stage::Taken(now), sent.count);/' backplane
# A reader goes on with whatever comes next.
mutant "backplane: the last by then" \
  's/resp::bulk(channel.last.entry.text().as_bytes(), out);/resp::bulk(b"$", out);/' backplane
# Messages that were sent twice are said twice.
mutant "backplane: nothing is known of producers" \
  's/match known.filter(|known| number <= known.seen) {/match known.filter(|_| false) {/' backplane
# What is said now goes out before what has to be sent again.
mutant "backplane: sent again in another order" \
  's/let sent = match channel.sent {/let sent = match channel.sent.filter(|_| channel.waiting.is_empty()) {/' backplane
# Nothing is sent again: what was under way when a line broke is forgotten.
mutant "backplane: not sent again" \
  's/sent.stage = Stage::Unsent;/sent.stage = Stage::Owed;/' backplane
# A gap is found, and nobody is told.
mutant "backplane: a gap that is kept silent" \
  's/channel.gap = channel.gap.or(is_missed.then_some(gap));/let _ = (gap, is_missed);/' backplane
# On a new connection nobody asks whether the last entry is still there.
mutant "backplane: a new connection believed" \
  's/Phase::Forward { .. } | Phase::Open => self.is_doubtful = true,/Phase::Forward { .. } | Phase::Open => self.is_doubtful = false,/' backplane
# A history that was exchanged between two questions is not found.
mutant "backplane: an older entry not asked for" \
  's/(is_older \&\& self.read - read < kept.saturating_sub/(is_older \&\& self.read - read > kept.saturating_sub/' backplane
# A reader at a server that nobody writes to is kept.
mutant "backplane: a deaf reader kept" \
  's/if self.reader.own_last < self.reader.expected {/if false {/' backplane
# A line that says nothing is kept.
mutant "backplane: a silent line kept" \
  's/State::Up { .. } if self.silent_at <= now => Some/State::Up { .. } if self.silent_at < Instant::default() => Some/' backplane
# An event that cannot be used at the moment is gone.
mutant "backplane: nothing is held" \
  's/^        self.again = self.pending.is_some();/        self.again = false;/' backplane
# Repeats are said again.
mutant "backplane: keys are not looked at" \
  's/Some(known) => Verdict::Repeat(known.first),/Some(_) => Verdict::New,/' backplane
# Whoever opens a channel between a message and its repeat takes the repeat for the first.
mutant "backplane: a repeat is no sight of its key" \
  's/if is_fresh { Key { seen_ms, at, ..known } } else { new };/if is_fresh { known } else { new };/' backplane
# Whoever opens a channel knows nothing of what was said before.
mutant "backplane: nothing is read back" \
  's/^        if is_remembered {/        if is_remembered \&\& self.entries < 2 {/' backplane
# What is said where nobody is waits for a channel to be closed.
mutant "backplane: nobody's message needs a channel" \
  's/self.channels.len() < self.settings.slots())/self.may_open())/' \
  "--test backplane single::"
# Whether keys have a time to live is believed when the connection has broken.
mutant "backplane: a lost time to live believed" \
  's/^                channel.expiry_at = None;$//' \
  "--test backplane single::"
# A reader works before it has seen that the writer is at the same server.
mutant "backplane: works before a pulse is seen" \
  's/if self.reader.own_last != EntryId::ZERO {/if true {/' \
  "--test backplane single::"
# What is kept is replayed before it is known how old it is.
mutant "backplane: opened before the time is known" \
  's/self.settings.history.is_none() || self.writer.clock.is_some()/true/' \
  "--test backplane single::"
# The size of some entries is taken for that of all.
mutant "backplane: few entries judge a stream" \
  's/let is_full = self.filled == CRATES;/let is_full = true;/' \
  "--lib backplane::channel"
# An instance that has just opened a channel cuts its stream to what it has read.
mutant "backplane: a cold instance cuts a stream" \
  's/None if self.entries < RATE_ENTRIES_MIN => self.entries,/None if true => self.entries,/' \
  "--test backplane single::"
# The time of a pulse that cannot be written keeps the loop awake.
mutant "backplane: busy while nothing goes" \
  's/let pulse_at = if self.may_pulse() {/let pulse_at = if true {/' \
  "--test backplane single::"
# Who comes to a channel that is being opened is let in before it is known where that begins.
mutant "elsewhere: let in early" \
  's/self.find(name).is_some_and(|id| !self.channel(id).is_opening())/self.find(name).is_some()/'
# Plain readers are not parted from what comes behind a gap.
mutant "elsewhere: a gap that plain readers are not told of" \
  's/Dialect::Plain | Dialect::SocketIo4 | Dialect::SocketIo3 => feed.part(number),/Dialect::SocketIo4 | Dialect::SocketIo3 => feed.part(number), Dialect::Plain => {}/'
# Who has read everything before a gap is sent what comes behind it.
mutant "elsewhere: read on behind a gap" \
  's/Some(gap) if at <= gap.offset => gap,/Some(gap) if at < gap.offset => gap,/'
# Nobody whom a gap has parted is told.
mutant "elsewhere: a gap that is never told" \
  's/if is_open \&\& self.is_session_parted(id) {/if false \&\& is_open \&\& self.is_session_parted(id) {/'
# Who is closed in several channels is sent what comes behind a gap in one of them.
mutant "elsewhere: a close that reads on behind a gap" \
  's/\&\& space.cursor.offset < space.closes_at/\&\& true/' \
  "--lib hub::spaces"
# Who publishes is held for as long as nobody decides the order.
mutant "elsewhere: publishers are held for ever" \
  's/^            elsewhere.is_refusing = true;/            elsewhere.is_refusing = false;/'
# Who publishes is refused for ever, once nobody has decided the order for too long.
mutant "elsewhere: publishers are refused for ever" \
  's/if core::mem::take(\&mut elsewhere.is_refusing) \&\&/if elsewhere.is_refusing \&\&/' \
  "--test regression elsewhere::"
# A channel that does not read holds all others up, however small it is.
mutant "elsewhere: a slow channel holds all others up" \
  's/channel.gives_grace() \&\& channel.choked() as usize \* 2 >= readers/channel.gives_grace()/' \
  "--test regression elsewhere::"
# A reader that is told that it was too slow is waited for.
mutant "elsewhere: who was told is waited for" \
  's/^            self.stop_waiting_for(slot, channel);/            let _ = channel;/' \
  "--test regression elsewhere::"
# A channel that is not opened in time is given up.
mutant "elsewhere: given up with the last who waited" \
  's/self.awaited_until.plus(LATE_OPENING_LIMIT)/{ let _ = LATE_OPENING_LIMIT; self.awaited_until }/' \
  "--test regression elsewhere::"
# What is kept from before a gap can still be had.
mutant "elsewhere: kept across a gap" \
  's/^            log.begin_anew(number, position);/            let _ = log;/'
# A newcomer whose channel is not opened in time is forgotten.
mutant "elsewhere: a newcomer forgotten" \
  's/Http::Awaiting(_) => Step::AnswerAnew,/Http::Awaiting(_) => Step::Continue,/'
# So is a session that waits for a namespace.
mutant "elsewhere: a session forgotten" \
  's/Due::Entering => self.enter_at_last(now, session_id),/Due::Entering => drop(self.sessions.edit(session_id).spaces.len()),/'
# What has waited for the order to come back is said to nobody.
mutant "elsewhere: what was taken is dropped" \
  's/let published = place.channel.map(|channel| {/let published = place.channel.filter(|_| !self.hub.is_closed()).map(|channel| {/'
# What was brought before a channel is open has the wrong place.
mutant "elsewhere: brought to the wrong place" \
  's/log.append_aged(self.number, position, said, message);/log.append_aged(self.number, position, (said.0, Duration::from_millis(0)), message);/'
# What is told of a snapshot: the simulation looks at snapshots, not at what is made of them.
told='--lib metrics::exported'
# One counter is told twice, the other time under another's name.
mutant "told: a counter twice" \
  's/("elbow_readers_lapped", help, metrics.readers_lapped)/("elbow_readers_lapped", help, metrics.publishers_paused)/' "$told"
# A kind of connection is not told.
mutant "told: a gauge forgotten" \
  's/^            ("sse", now.sse),$//' "$told"
# A counter is not told.
mutant "told: a counter forgotten" \
  's/^        self.counter("elbow_speakers_held_back", help, metrics.speakers_held_back);$/        let _ = help;/' "$told"
# The status tells what was read as what was sent.
mutant "told: the status confuses two counters" \
  's/json.number("sent_bytes", metrics.sent_bytes);/json.number("sent_bytes", metrics.received_bytes);/' "$told"
# Memory that is free is not told by the status.
mutant "told: the status forgets a gauge" \
  's/^            json.number("free", memory.free);$//' "$told"
# A reason for an end is told as its neighbour's.
mutant "told: a reason for another" \
  's/^        self.closed\[reason as usize\]$/        self.closed[(reason as usize + 1) % self.closed.len()]/' "$told"
# The members of a dialect are told under the name of another.
mutant "told: dialects out of order" \
  's/^    \["plain", "elbow_v1", "sse", "socketio4", "socketio3"\];/    ["plain", "sse", "elbow_v1", "socketio4", "socketio3"];/' "$told"

# What a survey finds.
found='--test metrics'
# Event streams are not among the connections that are told.
mutant "survey: a kind that is another" \
  's/sse: count(Kind::Stream),/sse: count(Kind::SocketIo),/' "$found"
# How far readers were behind at the last look is counted again.
mutant "survey: lags of the look before" \
  's/^        snapshot.lags = Lags::default();$//' "$found"
# Bytes in rings are added to those of the last look.
mutant "survey: rings of the look before" \
  's/^        snapshot.feed_bytes = 0;$//' "$found"
# Members are counted again by each look.
mutant "survey: members of the look before" \
  's/^        snapshot.members = \[0; Dialect::ALL.len()\];$//' "$found"
# A finding is told for ever, since what was counted never becomes the past.
mutant "survey: nothing becomes the past" \
  's/^            core::mem::swap(&mut past.older, &mut past.newer);$/            let _ = \&mut past.older;/' "$found"
# What the system says of the process does not reach whoever watches.
mutant "survey: the process forgotten" \
  's/^        snapshot.process = process;$/        let _ = process;/' "$found"
# A crowd of watchers takes all of the reserve in a turn.
mutant "survey: all are answered without memory" \
  's/if answered > 0 \&\& self.pool.is_strained() {/if answered > 0 \&\& false {/' "$found"

# What backplanes alone must notice is noticed by clients of whole servers, too.
# A message is heard here before it has its place.
mutant "room: heard before it is ordered" \
  's/^            if let Outcome::Refused(error) = outcome {/            let _early = self.hub.publish(\&mut self.pool, now.mono, channel, message); if let Outcome::Refused(error) = outcome {/' room
# A reader goes on with whatever comes next.
mutant "room: the last by then" \
  's/resp::bulk(channel.last.entry.text().as_bytes(), out);/resp::bulk(b"$", out);/' room
# Messages that were sent twice are said twice.
mutant "room: nothing is known of producers" \
  's/match known.filter(|known| number <= known.seen) {/match known.filter(|_| false) {/' room
# What is said now goes out before what has to be sent again.
mutant "room: sent again in another order" \
  's/let sent = match channel.sent {/let sent = match channel.sent.filter(|_| channel.waiting.is_empty()) {/' room
# Nothing is sent again: what was under way when a line broke is forgotten.
mutant "room: not sent again" \
  's/sent.stage = Stage::Unsent;/sent.stage = Stage::Owed;/' room
# A gap is found, and nobody is told.
mutant "room: a gap that is kept silent" \
  's/channel.gap = channel.gap.or(is_missed.then_some(gap));/let _ = (gap, is_missed);/' room
# Plain readers are not parted from what comes behind a gap.
mutant "room: a gap that plain readers are not told of" \
  's/Dialect::Plain | Dialect::SocketIo4 | Dialect::SocketIo3 => feed.part(number),/Dialect::SocketIo4 | Dialect::SocketIo3 => feed.part(number), Dialect::Plain => {}/' room
# A reader at a server that nobody writes to is kept.
mutant "room: a deaf reader kept" \
  's/if self.reader.own_last < self.reader.expected {/if false {/' room

# What was held goes on with the next pulse only.
mutant "room: a held order sleeps" \
  's/let is_left = is_left || is_let_go || self.is_order_released();/let is_left = is_left || is_let_go;/' room
# What stands behind a message whose channel was closed goes on with the next pulse only.
mutant "room: what is let go sleeps" \
  's/let is_let_go = was_held \&\& backplane.held().is_none();/let is_let_go = false;/' \
  '--test room nobody_sleeps_over_what_a_closed_channel_has_let_go'
# Who has come back from another instance is not told of what is not said again.
mutant "room: passed over without a word" \
  's/self.returned\[dialect as usize\] |= goes_on;/let _ = goes_on;/' \
  "--test regression elsewhere::"
# What stood in front of a channel's start is said to those who have heard it elsewhere.
mutant "room: in front of the start is as in a gap" \
  's/Use::Past(slot, false) \&\& channel.gap.is_some();/Use::Past(slot, false);/' \
  "--test backplane single::"
# What stood in a gap, and nobody has heard, is passed over.
mutant "room: in a gap is as if said" \
  's/Use::Past(slot, false) \&\& channel.gap.is_some();/Use::Past(slot, false) \&\& false;/' \
  "--test backplane single::"
# The first of a row that is passed over is told, and not the last.
mutant "room: a row that is passed over ends early" \
  's/(number == last.min(current.head.last())).then_some(Fate::Passed)/(number == current.head.first).then_some(Fate::Passed)/' \
  "--test backplane single::"
# Who may say more again is read before those that wait for its room.
mutant "turns: who may speak again is in front" \
  's/if self.rate.is_some() \&\& !self.entries\[slot as usize\].conn.is_publishing() {/if self.rate.is_some() \&\& self.held_until(slot) <= self.now {/' \
  "--test regression turns::"
# An upgrade is put off for as long as its session says what it may.
mutant "turns: an upgrade that is put off for ever" \
  's/filter(|upgrade| upgrade.put_offs < PUT_OFFS_MAX)/filter(|upgrade| upgrade.put_offs < PUT_OFFS_MAX || true)/' \
  "--test regression public_places::"
# What a POST has brought is cut where no memory lets it wait for its turn.
mutant "memory: a body that cannot wait is cut" \
  's/let is_forced = self.pool.is_strained() \&\& self.reading.budget.may_force();/let is_forced = false;/' \
  "--test regression turns::"
# Where nothing can be kept any number of frames is acted upon in a turn.
mutant "memory: what cannot be kept is free" \
  's/!self.is_read_over() || self.forced_units_of_read > 0/true/' \
  "--test regression turns::"
# A POST without a body stays in the reserve until its connection is read again.
mutant "memory: an empty body stays in the reserve" \
  's/^        if !is_to_come {$/        if false {/' \
  "--test regression turns::"

echo "$caught of $all caught"
[ "$caught" -eq "$all" ]
