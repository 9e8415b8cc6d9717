//! Measures the cost of the tc program per packet and of the sendmsg hook per datagram, and prints it as JSON. `cargo xtask bench` runs it, as root.

fn main() -> anyhow::Result<()> {
    let mut costs = portolan::source::kernel::packet_cost::measure()?;
    costs.extend(portolan::source::kernel::sending_cost::measure()?);
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}
