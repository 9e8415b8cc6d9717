//! The first process of the vm tier's guests: checks what the agent reports on this kernel, prints the results on the console, and
//! powers off.

mod agent;
mod checks;
mod clock;
mod console;
mod expectations;
mod killed;
mod refusal;
mod sockets;
mod system;
mod world;

use console::Console;

fn main() {
    let mut console = Console;
    match run(&mut console) {
        Ok(()) => console.end(),
        Err(error) => console.failed("guest", &format!("{error:#}")),
    }
    system::power_off();
}

fn run(console: &mut Console) -> anyhow::Result<()> {
    system::mount_all()?;
    system::load_modules(console)?;
    let arguments = std::fs::read_to_string("/proc/cmdline")?;
    let world = world::World::make()?;
    if arguments.split_whitespace().any(|word| word == "expect=refusal") {
        return refusal::check(console, &world);
    }
    if arguments.split_whitespace().any(|word| word == "lockdown=confidentiality") {
        console.result("locked-down", system::lockdown());
    }
    checks::run(console, &world)
}
