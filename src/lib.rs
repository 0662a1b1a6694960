//! elbow: a broadcast server that stands behind a load balancer.
pub mod conn;
pub mod feed;
pub mod hub;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod outbound;
pub mod pool;
pub mod reason;
pub mod server;
pub mod settings;
pub mod site;
pub mod time;
pub mod wheel;
pub mod wire;
