//! Prints as JSON what the tc program costs per packet: `cargo xtask bench` runs it, as root.

fn main() -> anyhow::Result<()> {
    let costs = portolan::source::kernel::packet_cost::measure()?;
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}
