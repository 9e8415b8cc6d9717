//! The test harness: a runtime of the tier's own, pods in it, and the agent.

pub mod agent_pod;
pub mod containerd;
pub mod image;
pub mod messages;
pub mod mount_table;
pub mod pod;
pub mod world;

#[path = "../../kernel/harness/agent.rs"]
#[expect(dead_code, reason = "shared with the kernel tier, which uses more of it")]
pub mod agent;
#[path = "../../kernel/harness/http.rs"]
pub mod http;
#[path = "../../kernel/harness/timeouts.rs"]
pub mod timeouts;
