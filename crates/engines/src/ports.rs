//! Free ports on this machine.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Different free ports of 127.0.0.1, chosen by the kernel.
///
/// All are held until all are known, so that they differ. Another program could still take one
/// before the service does; the service then ends at once and says so in its log.
pub(super) fn free<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut held = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("127.0.0.1 has no free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    //! Shows that the ports differ and can be listened on.

    use std::collections::HashSet;
    use std::net::TcpListener;

    #[test]
    fn ports_differ_and_are_free() {
        let ports = super::free::<8>().unwrap();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 8);
        for port in ports {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "{port}");
        }
    }
}
