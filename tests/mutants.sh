#!/bin/sh
# Ten small breakages of the server, each of which the simulation must notice.
#
# Works on a copy in a temporary folder; the tree itself is not touched. Each mutant is one line of
# src changed by sed; one whose line is not found any more is an error, so that this list follows
# the code. Prints for each whether the sweep failed, as it must, and by which check.
#
#   tests/mutants.sh            SEEDS (default 400) seeds for each
set -eu

tree=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR="${MUTANTS_TARGET_DIR:-$copy/target}"
# What is built here is thrown away: fast to build is better than fast.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export SEEDS="${SEEDS:-400}" RUST_BACKTRACE=0
survived=0

# mutant NAME FILE SED-EXPRESSION
mutant() {
    rm -rf "$copy/tree"
    mkdir "$copy/tree"
    cp -R "$tree/Cargo.toml" "$tree/Cargo.lock" "$tree/src" "$tree/tests" "$tree/www" "$copy/tree"
    [ ! -d "$tree/benches" ] || cp -R "$tree/benches" "$copy/tree"
    sed -i "$3" "$copy/tree/$2"
    if cmp -s "$tree/$2" "$copy/tree/$2"; then
        echo "$1: its line is not in $2 any more"
        exit 1
    fi
    cd "$copy/tree"
    if ! cargo test --release --test sim --no-run >"$copy/log" 2>&1; then
        cat "$copy/log"
        echo "$1: does not build"
        exit 1
    fi
    if timeout 300 cargo test --release --test sim whatever_happens >"$copy/log" 2>&1; then
        echo "SURVIVED  $1"
        survived=$((survived + 1))
    else
        echo "caught    $1: $(grep -A1 'panicked at' "$copy/log" | sed -n 2p | cut -c1-80)"
    fi
}

# The rest of a half-written record is forgotten: own bytes land inside of it.
mutant "own bytes inside a record" src/outbound.rs \
    's/cursor.offset < boundary \&\& (own_left > 0 || self.close.is_some())/false/'
# A close frame does not wait for what was published before it.
mutant "close before its barrier" src/server/mod.rs \
    's/{ channel, dialect, .. } => self.hub.feed(channel, dialect).head()/{ .. } => Offset(0)/'
# Members that were appended for behind a sweep are not visited again.
mutant "a sweep without a second one" src/hub/channel.rs \
    's/sweep.again = Some(sweep.position);/sweep.again = None;/'
# A socket that was full is never written to again.
mutant "writable ignored" src/server/mod.rs \
    's/if readiness.writable \&\& entry.blocked {/if readiness.writable \&\& !entry.blocked {/'
# A short read counts as the end of what there is, although the peer's end stands behind it.
mutant "the end behind the bytes is forgotten" src/server/pump.rs \
    's/arrived == asked || entry.read_closed;/arrived == asked;/'
# Who left the room is still waited for.
mutant "publishers that are never resumed" src/hub/channel.rs \
    's/self.grace_until = None;/self.grace_until = Some(Instant::NEVER);/'
# The pool gets nothing back when a connection ends.
mutant "a leak at the end" src/server/mod.rs \
    's/entry.conn.release(&mut self.pool);//'
# A vanished peer is pinged and then forgiven.
mutant "no pong is no matter" src/conn/websocket.rs \
    's/return Step::Cut(CloseReason::PingTimeout);/self.pinged_at = now;/'
# The socket is dropped without reading what still comes.
mutant "no lingering" src/conn/mod.rs \
    's/let by = cx.now.mono.plus(limits::LINGER_LIMIT);/let by = cx.now.mono;/'
# Drains tell everyone and cut nobody.
mutant "a drain without end" src/server/drain.rs \
    's/drain.ends.plus(limits::DRAIN_CUT_LIMIT)/Instant::NEVER/'

[ "$survived" -eq 0 ] || exit 1
