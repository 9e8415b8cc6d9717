//! The devices at which packets from outside the netns arrive. A socket that is bound to another device (SO_BINDTODEVICE)
//! cannot be called from there, whatever its address.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};

use crate::source::netlink::NetlinkSocket;

/// Returns the indexes of the devices of the calling thread's netns at which packets from outside arrive: all but loopback and
/// dummies. A device that is gone is not among them.
///
/// # Errors
/// When the devices cannot be listed.
pub(super) fn receiving() -> io::Result<BTreeSet<u32>> {
    let mut route = NetlinkSocket::open_for_large(netlink_sys::protocols::NETLINK_ROUTE)?;
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut found = BTreeSet::new();
    let outcome = route.dump(RouteNetlinkMessage::GetLink(request), |message| {
        if let RouteNetlinkMessage::NewLink(link) = message
            && receives(&link)
        {
            found.insert(link.header.index);
        }
    })?;
    if outcome.unparsable > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a device could not be read"));
    }
    Ok(found)
}

fn receives(link: &LinkMessage) -> bool {
    let is_dummy = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Dummy));
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    !link.header.flags.contains(LinkFlags::Loopback) && !infos.flatten().any(is_dummy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_arrives_at_loopback_and_at_a_dummy() {
        let device = |flags: LinkFlags, kind: Option<InfoKind>| {
            let mut link = LinkMessage::default();
            link.header.flags = flags;
            link.attributes.extend(kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])));
            link
        };
        for (flags, kind, then) in [
            (LinkFlags::Up, Some(InfoKind::Veth), true),
            (LinkFlags::Up, None, true),
            (LinkFlags::Up, Some(InfoKind::Dummy), false),
            (LinkFlags::Up | LinkFlags::Loopback, None, false),
        ] {
            assert_eq!(receives(&device(flags, kind.clone())), then, "{flags:?} {kind:?}");
        }
    }
}
