//! Names of resources: `arn:aws:transfer:REGION:000000000000:user/SERVER/NAME`.

use super::refusal::Refusal;

/// Whose name it is. Region and account are whatever the caller likes: there is one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Server(&'a str),
    User { server: &'a str, name: &'a str },
    HostKey { server: &'a str, id: &'a str },
}

impl<'a> Named<'a> {
    pub(super) fn parse(arn: &'a str) -> Result<Self, Refusal> {
        let none = || Refusal::invalid("Arn is not that of a user, a server or a host key");
        let mut parts = arn.splitn(6, ':');
        let (Some("arn"), Some(_), Some("transfer")) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(none());
        };
        let resource = parts.nth(2).ok_or_else(none)?;
        let mut names = resource.split('/');
        match (names.next(), names.next(), names.next(), names.next()) {
            (Some("server"), Some(id), None, None) => Ok(Self::Server(id)),
            (Some("user"), Some(server), Some(name), None) => Ok(Self::User { server, name }),
            (Some("host-key"), Some(server), Some(id), None) => Ok(Self::HostKey { server, id }),
            _ => Err(none()),
        }
    }

    /// Writes the name for a caller of a region.
    pub(super) fn write(self, region: &str) -> String {
        let resource = match self {
            Self::Server(id) => format!("server/{id}"),
            Self::User { server, name } => format!("user/{server}/{name}"),
            Self::HostKey { server, id } => format!("host-key/{server}/{id}"),
        };
        format!("arn:aws:transfer:{region}:{ACCOUNT}:{resource}")
    }
}

/// There is no account here; tools want twelve digits.
const ACCOUNT: &str = "000000000000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for named in [
            Named::Server("s-1"),
            Named::User {
                server: "s-1",
                name: "ann",
            },
            Named::HostKey {
                server: "s-1",
                id: "hostkey-0123456789abcdef0",
            },
        ] {
            assert_eq!(Named::parse(&named.write("eu-west-1")), Ok(named));
        }
        let foreign = "arn:aws-cn:transfer:cn-north-1:123456789012:user/s-1/ann";
        assert!(Named::parse(foreign).is_ok());
        for bad in [
            "",
            "ann",
            "arn:aws:s3:::bucket",
            "arn:aws:transfer:eu-west-1:1:user/s-1",
            "arn:aws:transfer:eu-west-1:1:user/s-1/ann/x",
            "arn:aws:transfer:eu-west-1:1:workflow/w-1",
        ] {
            assert!(Named::parse(bad).is_err(), "{bad}");
        }
    }
}
