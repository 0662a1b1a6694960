//! elbow: a broadcast server that stands behind a load balancer.
pub mod time;
pub mod wire;
