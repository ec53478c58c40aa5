//! The operations of AWS's API that are there: one row for each.

/// Declares the operations: what a key must be allowed, and the members that a request may have.
macro_rules! operations {
    ($($name:ident $need:ident [$($member:literal)*];)+) => {
        /// What AWS's tools ask for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation {
            $($name,)+
        }

        impl Operation {
            /// Every operation, in the order of the document.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns AWS's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Reads AWS's word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }

            /// Returns the members that a request may have, in AWS's spelling.
            #[must_use]
            pub const fn members(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => &[$($member,)*],)+
                }
            }

            /// Says what a key must be allowed.
            pub(super) const fn need(self) -> Need {
                match self {
                    $(Self::$name => Need::$need,)+
                }
            }
        }
    };
}

operations! {
    CreateUser Change ["HomeDirectory" "HomeDirectoryType" "HomeDirectoryMappings" "Policy"
        "PosixProfile" "Role" "ServerId" "SshPublicKeyBody" "Tags" "UserName"];
    UpdateUser Change ["HomeDirectory" "HomeDirectoryType" "HomeDirectoryMappings" "Policy"
        "PosixProfile" "Role" "ServerId" "UserName"];
    DeleteUser Change ["ServerId" "UserName"];
    DescribeUser Read ["ServerId" "UserName"];
    ListUsers Read ["MaxResults" "NextToken" "ServerId"];
    ImportSshPublicKey Change ["ServerId" "SshPublicKeyBody" "UserName"];
    DeleteSshPublicKey Change ["ServerId" "SshPublicKeyId" "UserName"];
    TagResource Change ["Arn" "Tags"];
    UntagResource Change ["Arn" "TagKeys"];
    ListTagsForResource Read ["Arn" "MaxResults" "NextToken"];
    DescribeServer Read ["ServerId"];
    ListServers Read ["MaxResults" "NextToken"];
    ListHostKeys Read ["MaxResults" "NextToken" "ServerId"];
    DescribeHostKey Read ["HostKeyId" "ServerId"];
    ListSecurityPolicies Read ["MaxResults" "NextToken"];
    DescribeSecurityPolicy Read ["SecurityPolicyName"];
    CreateServer Serve ["Certificate" "Domain" "EndpointDetails" "EndpointType" "HostKey"
        "HostKeyStorageType" "IdentityProviderDetails" "IdentityProviderType" "IpAddressType"
        "LoggingRole" "PostAuthenticationLoginBanner" "PreAuthenticationLoginBanner"
        "ProtocolDetails" "Protocols" "S3StorageOptions" "SecurityPolicyName"
        "StructuredLogDestinations" "Tags" "WorkflowDetails"];
    UpdateServer Serve ["Certificate" "EndpointDetails" "EndpointType" "HostKey"
        "IdentityProviderDetails" "IdentityProviderType" "IpAddressType" "LoggingRole"
        "PostAuthenticationLoginBanner" "PreAuthenticationLoginBanner" "ProtocolDetails"
        "Protocols" "S3StorageOptions" "SecurityPolicyName" "ServerId"
        "StructuredLogDestinations" "WorkflowDetails"];
    StartServer Serve ["ServerId"];
    StopServer Serve ["ServerId"];
    DeleteServer Serve ["ServerId"];
    TestIdentityProvider Test ["ServerId" "ServerProtocol" "SourceIp" "UserName" "UserPassword"];
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Tries a login.
    Test,
    Read,
    Change,
    /// Makes servers, starts and stops them, where a process carries several.
    Serve,
}

/// What an access key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Test,
    Read,
    Users,
    All,
}

impl Scope {
    pub(super) const fn allows(self, need: Need) -> bool {
        match (self, need) {
            (Self::All, Need::Test | Need::Read | Need::Change | Need::Serve)
            | (Self::Test, Need::Test)
            | (Self::Read | Self::Users, Need::Read)
            | (Self::Users, Need::Change) => true,
            (Self::Test, Need::Read | Need::Change | Need::Serve)
            | (Self::Read, Need::Test | Need::Change | Need::Serve)
            | (Self::Users, Need::Test | Need::Serve) => false,
        }
    }
}

impl Need {
    /// Names the scopes that allow it.
    pub(super) const fn scopes(self) -> &'static str {
        match self {
            Self::Test => "test or all",
            Self::Read => "read, users or all",
            Self::Change => "users or all",
            Self::Serve => "all",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever AWS changes is seen here, once the excerpt of its model is taken anew.
    #[test]
    fn members_are_those_of_the_public_model() {
        let model = include_str!("../../../tests/fixtures/aws/transfer-model.json");
        let model: serde_json::Value = serde_json::from_str(model).unwrap();
        for operation in Operation::ALL {
            let found = &model["operations"][operation.as_str()]["members"];
            let expected: Vec<_> = found.as_object().unwrap().keys().cloned().collect();
            let mut members = operation.members().to_vec();
            members.sort_unstable();
            assert_eq!(members, expected, "{operation:?}");
        }
        let shape = |name: &str, bound: &str| model["shapes"][name][bound].as_u64().unwrap();
        use super::super::transport;
        use crate::limits;
        for (name, bound, ours) in [
            ("Role", "min", limits::ROLE_CHARS_MIN),
            ("Role", "max", limits::ROLE_CHARS_MAX),
            ("Policy", "max", limits::POLICY_CHARS_MAX),
            ("HomeDirectory", "max", limits::MAPPING_TEXT_MAX),
            ("MapEntry", "max", limits::MAPPING_TEXT_MAX),
            ("MapTarget", "max", limits::MAPPING_TEXT_MAX),
            ("Tags", "max", limits::TAGS_MAX),
            ("TagKey", "max", limits::TAG_KEY_CHARS_MAX),
            ("TagValue", "max", limits::TAG_VALUE_CHARS_MAX),
            ("SshPublicKeyBody", "max", limits::SSH_KEY_BODY_CHARS_MAX),
            ("UserName", "max", limits::USER_NAME_BYTES_MAX),
            ("MaxResults", "max", usize::from(limits::LIST_PAGE_MAX)),
            ("HostKeyId", "max", transport::ID_CHARS),
            (
                "HostKeyDescription",
                "max",
                transport::DESCRIPTION_CHARS_MAX,
            ),
            (
                "SecurityPolicyName",
                "max",
                transport::POLICY_NAME_CHARS_MAX,
            ),
        ] {
            assert_eq!(shape(name, bound), ours as u64, "{name} {bound}");
        }
        // The model has 5 keys; the service has had 50 for years. Its 50,000 mappings are those of
        // a whole account's quota: a user has 2,000.
        assert_eq!(shape("SshPublicKeys", "max"), 5);
        assert_eq!(shape("HomeDirectoryMappings", "max"), 50_000);
    }
}
