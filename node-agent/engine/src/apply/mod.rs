//! How each family of `Input` changes the state, and which ports and pods must be judged again because of it.

mod admission;
mod connections;
mod exceptions;
mod forwarded;
mod loss;
mod nat_paths;
mod netns;
mod objects;
mod pods;
mod remembered;
mod sockets;
mod traffic;
