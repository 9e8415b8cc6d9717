//! Where facts come from: the kernel's programs, sock_diag, netns discovery, pod metadata, the clock. IO in, no decisions.
