//! What the engine remembers: one index a file, each guarding its own fields. Imports `model` and `rules`.

pub(crate) mod addresses;
pub(crate) mod bindings;
pub(crate) mod connections;
pub(crate) mod exceptions;
pub(crate) mod findings;
pub(crate) mod namespaces;
pub(crate) mod nat_paths;
pub(crate) mod netns;
pub(crate) mod pod_record;
pub(crate) mod pods;
pub(crate) mod port;
pub(crate) mod port_age;
pub(crate) mod port_traffic;
pub(crate) mod quota;
pub(crate) mod selections;
pub(crate) mod service_addresses;
pub(crate) mod sockets;
pub(crate) mod storms;
pub(crate) mod timers;
pub(crate) mod totals;
pub(crate) mod unserved;
