//! What requests are answered with: a probe's word, a file, a channel by WebSocket, a refusal.

pub(super) mod answer;
