//! elbow: a broadcast server that stands behind a load balancer.
pub mod cli;
pub mod config;
pub mod id;
pub mod limits;
pub mod settings;
pub mod time;
pub mod wire;
