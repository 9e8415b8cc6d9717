//! Measures the cost of the tc program per packet, and prints it as JSON. `cargo xtask bench` runs it, as root.

fn main() -> anyhow::Result<()> {
    let costs = portolan::source::kernel::packet_cost::measure()?;
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}
