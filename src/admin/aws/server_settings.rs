//! What a server is that AWS's tools make (pure): the members of `CreateServer` and `UpdateServer`,
//! what AWS refuses of them, and what `DescribeServer` answers.

#![warn(clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::idp::service_managed::Fault;

/// What was said of a server. In a request, what is missing is not changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ServerSettings {
    pub certificate: Option<String>,
    pub domain: Option<String>,
    pub endpoint_details: Option<EndpointDetails>,
    pub endpoint_type: Option<String>,
    pub identity_provider_details: Option<IdentityProviderDetails>,
    pub identity_provider_type: Option<String>,
    pub ip_address_type: Option<String>,
    pub logging_role: Option<String>,
    pub post_authentication_login_banner: Option<String>,
    pub pre_authentication_login_banner: Option<String>,
    pub protocol_details: Option<ProtocolDetails>,
    pub protocols: Option<Vec<String>>,
    pub s3_storage_options: Option<S3StorageOptions>,
    pub security_policy_name: Option<String>,
    pub structured_log_destinations: Option<Vec<String>>,
    pub workflow_details: Option<WorkflowDetails>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct EndpointDetails {
    pub address_allocation_ids: Option<Vec<String>>,
    pub security_group_ids: Option<Vec<String>>,
    pub subnet_ids: Option<Vec<String>>,
    pub vpc_endpoint_id: Option<String>,
    pub vpc_id: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct IdentityProviderDetails {
    pub directory_id: Option<String>,
    pub function: Option<String>,
    pub invocation_role: Option<String>,
    pub sftp_authentication_methods: Option<String>,
    pub url: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProtocolDetails {
    pub as2_transports: Option<Vec<String>>,
    pub passive_ip: Option<String>,
    pub proxy_config: Option<ProxyConfig>,
    pub set_stat_option: Option<String>,
    pub sftp_ports: Option<Vec<SftpPort>>,
    pub tls_session_resumption_mode: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProxyConfig {
    pub sftp_mode: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SftpPort {
    pub sftp_port: i64,
    pub communication_mode: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct S3StorageOptions {
    pub directory_listing_optimization: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WorkflowDetails {
    pub on_partial_upload: Option<Vec<Workflow>>,
    pub on_upload: Option<Vec<Workflow>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Workflow {
    pub execution_role: String,
    pub workflow_id: String,
}

/// Who is asked about users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderType {
    ServiceManaged,
    ApiGateway,
    Lambda,
}

impl ProviderType {
    /// Returns AWS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceManaged => "SERVICE_MANAGED",
            Self::ApiGateway => "API_GATEWAY",
            Self::Lambda => "AWS_LAMBDA",
        }
    }
}

impl ServerSettings {
    /// Returns what it becomes by a change, in which `None` changes nothing.
    #[must_use]
    pub fn changed(self, change: Self) -> Self {
        let old = self;
        Self {
            certificate: change.certificate.or(old.certificate),
            domain: change.domain.or(old.domain),
            endpoint_details: change.endpoint_details.or(old.endpoint_details),
            endpoint_type: change.endpoint_type.or(old.endpoint_type),
            identity_provider_details: change
                .identity_provider_details
                .or(old.identity_provider_details),
            identity_provider_type: change.identity_provider_type.or(old.identity_provider_type),
            ip_address_type: change.ip_address_type.or(old.ip_address_type),
            logging_role: change.logging_role.or(old.logging_role),
            post_authentication_login_banner: change
                .post_authentication_login_banner
                .or(old.post_authentication_login_banner),
            pre_authentication_login_banner: change
                .pre_authentication_login_banner
                .or(old.pre_authentication_login_banner),
            protocol_details: match (old.protocol_details, change.protocol_details) {
                (Some(old), Some(change)) => Some(old.changed(change)),
                (old, change) => change.or(old),
            },
            protocols: change.protocols.or(old.protocols),
            s3_storage_options: change.s3_storage_options.or(old.s3_storage_options),
            security_policy_name: change.security_policy_name.or(old.security_policy_name),
            structured_log_destinations: change
                .structured_log_destinations
                .or(old.structured_log_destinations),
            workflow_details: change.workflow_details.or(old.workflow_details),
        }
    }

    /// Checks what AWS checks, and refuses what is not served here.
    ///
    /// # Errors
    /// Names the member and what it may be.
    pub fn check(&self) -> Result<(), Fault> {
        let details = self.protocol_details.as_ref();
        let storage = self.s3_storage_options.as_ref();
        for (member, value, allowed) in [
            ("Domain", self.domain.as_ref(), &["S3", "EFS"][..]),
            (
                "EndpointType",
                self.endpoint_type.as_ref(),
                &["PUBLIC", "VPC", "VPC_ENDPOINT"],
            ),
            (
                "IpAddressType",
                self.ip_address_type.as_ref(),
                &["IPV4", "DUALSTACK"],
            ),
            (
                "TlsSessionResumptionMode",
                details.and_then(|one| one.tls_session_resumption_mode.as_ref()),
                &["DISABLED", "ENABLED", "ENFORCED"],
            ),
            (
                "SetStatOption",
                details.and_then(|one| one.set_stat_option.as_ref()),
                &["DEFAULT", "ENABLE_NO_OP"],
            ),
            (
                "SftpMode",
                details.and_then(|one| one.proxy_config.as_ref()?.sftp_mode.as_ref()),
                &["NONE", ENFORCED],
            ),
            (
                "DirectoryListingOptimization",
                storage.and_then(|one| one.directory_listing_optimization.as_ref()),
                &["ENABLED", "DISABLED"],
            ),
        ] {
            one_of(member, value, allowed)?;
        }
        if self.domain.as_deref() == Some("EFS") {
            return refused("Domain EFS is not served here; allowed: S3");
        }
        self.check_protocols()?;
        self.check_endpoint()?;
        self.check_provider()?;
        self.check_texts()?;
        self.port().map(drop)
    }

    fn check_protocols(&self) -> Result<(), Fault> {
        let Some(protocols) = &self.protocols else {
            return Ok(());
        };
        if protocols.is_empty() {
            return refused("Protocols is empty; at least one is needed");
        }
        for protocol in protocols {
            one_of("Protocols", Some(protocol), &["SFTP", "FTP", "FTPS", "AS2"])?;
            if protocol != "SFTP" {
                return invalid(format!(
                    "Protocol {protocol} is not served here; only SFTP is"
                ));
            }
        }
        Ok(())
    }

    fn check_endpoint(&self) -> Result<(), Fault> {
        let details = self.endpoint_details.as_ref();
        let details = details.filter(|details| **details != EndpointDetails::default());
        match (self.endpoint_type.as_deref(), details) {
            (Some("VPC_ENDPOINT"), _) => {
                refused("EndpointType VPC_ENDPOINT is no longer offered; allowed: PUBLIC, VPC")
            }
            (Some("VPC"), None) => refused("EndpointDetails is required for EndpointType VPC"),
            (Some("VPC"), Some(details)) if details.vpc_endpoint_id.is_some() => {
                refused("VpcEndpointId is not allowed for EndpointType VPC")
            }
            (None | Some("PUBLIC"), Some(_)) => {
                refused("EndpointDetails is not allowed for EndpointType PUBLIC")
            }
            (_, None | Some(_)) => Ok(()),
        }
    }

    fn check_provider(&self) -> Result<(), Fault> {
        let kind = self.provider_type()?;
        let none = IdentityProviderDetails::default();
        let details = self.identity_provider_details.as_ref().unwrap_or(&none);
        one_of(
            "SftpAuthenticationMethods",
            details.sftp_authentication_methods.as_ref(),
            &[
                "PASSWORD",
                "PUBLIC_KEY",
                "PUBLIC_KEY_OR_PASSWORD",
                "PUBLIC_KEY_AND_PASSWORD",
            ],
        )?;
        let is_role = |role: &String| role.starts_with("arn:") && role.contains(":role/");
        if details
            .invocation_role
            .as_ref()
            .is_some_and(|role| !is_role(role))
        {
            return refused("InvocationRole is not the ARN of a role");
        }
        let all = [
            (
                "Url",
                details.url.as_ref(),
                kind == ProviderType::ApiGateway,
            ),
            (
                "Function",
                details.function.as_ref(),
                kind == ProviderType::Lambda,
            ),
            ("DirectoryId", details.directory_id.as_ref(), false),
        ];
        for (member, value, is_needed) in all {
            let kind = kind.as_str();
            let value = value.filter(|value| !value.is_empty());
            if is_needed && value.is_none() {
                return invalid(format!(
                    "IdentityProviderDetails.{member} is required for IdentityProviderType {kind}"
                ));
            }
            if !is_needed && value.is_some() {
                return invalid(format!(
                    "IdentityProviderDetails.{member} is not allowed for IdentityProviderType {kind}"
                ));
            }
        }
        if kind == ProviderType::ApiGateway && details.invocation_role.is_none() {
            return refused(
                "IdentityProviderDetails.InvocationRole is required for IdentityProviderType \
                 API_GATEWAY",
            );
        }
        let is_function = |arn: &String| arn.starts_with("arn:") && arn.contains(":lambda:");
        match &details.function {
            Some(arn) if !is_function(arn) || arn.chars().count() > FUNCTION_CHARS_MAX => {
                refused("Function is not the ARN of a Lambda function, of up to 170 characters")
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_texts(&self) -> Result<(), Fault> {
        let printable = |text: &String| {
            let all = text.chars();
            text.len() <= BANNER_BYTES_MAX
                && all.clone().all(|c| matches!(c, '\t'..='\r' | ' '..='~'))
        };
        for (member, text) in [
            (
                "PreAuthenticationLoginBanner",
                &self.pre_authentication_login_banner,
            ),
            (
                "PostAuthenticationLoginBanner",
                &self.post_authentication_login_banner,
            ),
        ] {
            if text.as_ref().is_some_and(|text| !printable(text)) {
                return invalid(format!(
                    "{member} must be up to 4096 printable ASCII characters"
                ));
            }
        }
        let is_role = |role: &String| {
            role.is_empty() || (role.starts_with("arn:") && role.contains(":role/"))
        };
        if self
            .logging_role
            .as_ref()
            .is_some_and(|role| !is_role(role))
        {
            return refused("LoggingRole is not the ARN of a role");
        }
        if self
            .structured_log_destinations
            .as_ref()
            .is_some_and(|all| all.len() > 1)
        {
            return refused("StructuredLogDestinations has more than 1 entry");
        }
        Ok(())
    }

    /// Says who is asked.
    ///
    /// # Errors
    /// It is not one of those that are served.
    pub fn provider_type(&self) -> Result<ProviderType, Fault> {
        match self.identity_provider_type.as_deref() {
            None | Some("SERVICE_MANAGED") => Ok(ProviderType::ServiceManaged),
            Some("API_GATEWAY") => Ok(ProviderType::ApiGateway),
            Some("AWS_LAMBDA") => Ok(ProviderType::Lambda),
            Some("AWS_DIRECTORY_SERVICE") => refused(
                "IdentityProviderType AWS_DIRECTORY_SERVICE is not served here; allowed: \
                 SERVICE_MANAGED, API_GATEWAY, AWS_LAMBDA",
            ),
            Some(other) => invalid(format!(
                "IdentityProviderType is {other:?}; allowed: SERVICE_MANAGED, API_GATEWAY, \
                 AWS_LAMBDA"
            )),
        }
    }

    /// Returns the port that was asked for; 22 stands for any.
    ///
    /// # Errors
    /// It is none of those that AWS allows, or there are several.
    pub fn port(&self) -> Result<Option<u16>, Fault> {
        let details = self.protocol_details.as_ref();
        let ports = details.and_then(|details| details.sftp_ports.as_deref());
        let port = match ports.unwrap_or_default() {
            [] => return Ok(None),
            [port] => port,
            [_, _, ..] => return refused("SftpPorts: a server has one port here"),
        };
        one_of(
            "CommunicationMode",
            port.communication_mode.as_ref(),
            &["SERVER_TALK_FIRST", CLIENT_FIRST],
        )?;
        match u16::try_from(port.sftp_port) {
            Ok(22) => Ok(None),
            Ok(port) if port >= PORT_MIN => Ok(Some(port)),
            Ok(_) | Err(_) => refused("SftpPort must be 22, or 2000 to 65535"),
        }
    }

    /// Says whether connections begin with a header of the PROXY protocol.
    #[must_use]
    pub fn needs_proxy_header(&self) -> bool {
        let details = self.protocol_details.as_ref();
        let mode = details.and_then(|one| one.proxy_config.as_ref()?.sftp_mode.as_deref());
        mode == Some(ENFORCED)
    }

    /// Returns the name of the security policy.
    #[must_use]
    pub fn security_policy(&self) -> &str {
        let named = self.security_policy_name.as_deref();
        named
            .filter(|name| !name.is_empty())
            .unwrap_or(DEFAULT_POLICY)
    }

    /// Names the members that are kept and shown, and have no effect.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let protocol = self.protocol_details.clone().unwrap_or_default();
        let ports = protocol.sftp_ports.unwrap_or_default();
        let client_first =
            |port: &SftpPort| port.communication_mode.as_deref() == Some(CLIENT_FIRST);
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let has_workflows = self.workflow_details.as_ref().is_some_and(|all| {
            let all = [&all.on_upload, &all.on_partial_upload];
            all.iter()
                .any(|one| one.as_ref().is_some_and(|one| !one.is_empty()))
        });
        let all = [
            ("Certificate", text(&self.certificate)),
            (
                "EndpointDetails",
                self.endpoint_type.as_deref() == Some("VPC"),
            ),
            ("LoggingRole", text(&self.logging_role)),
            (
                "PostAuthenticationLoginBanner",
                text(&self.post_authentication_login_banner),
            ),
            (
                "StructuredLogDestinations",
                self.structured_log_destinations
                    .as_ref()
                    .is_some_and(|all| !all.is_empty()),
            ),
            ("WorkflowDetails", has_workflows),
            (
                "ProtocolDetails.SftpPorts.CommunicationMode",
                ports.iter().any(client_first),
            ),
            (
                "ProtocolDetails.SftpPorts 22",
                ports.iter().any(|port| port.sftp_port == 22),
            ),
        ];
        let named = all.into_iter().filter(|(_, is_said)| *is_said);
        named.map(|(member, _)| member).collect()
    }

    /// Returns the members of `DescribeServer` that follow from what was said, with AWS's values
    /// where nothing was.
    #[must_use]
    pub fn described(&self, port: u16) -> Value {
        let mut all = without_nulls(json!(self));
        let asked = self.protocol_details.as_ref();
        let asked = asked.and_then(|details| details.sftp_ports.as_ref()?.first());
        let mode = asked.and_then(|port| port.communication_mode.as_deref());
        let mode = mode.unwrap_or("SERVER_TALK_FIRST");
        let protocol = json!({
            "PassiveIp": "AUTO",
            "SetStatOption": "DEFAULT",
            "TlsSessionResumptionMode": "ENFORCED",
        });
        let defaults = json!({
            "Domain": "S3",
            "EndpointType": "PUBLIC",
            "IdentityProviderType": ProviderType::ServiceManaged.as_str(),
            "IpAddressType": "IPV4",
            "Protocols": ["SFTP"],
            "S3StorageOptions": {"DirectoryListingOptimization": "DISABLED"},
            "SecurityPolicyName": self.security_policy(),
            "ProtocolDetails": protocol,
        });
        fill(&mut all, defaults);
        if let Some(details) = all.get_mut("ProtocolDetails") {
            fill(details, protocol);
            // Where clients find it, whatever port was asked for.
            if let Some(details) = details.as_object_mut() {
                let ports = json!([{"SftpPort": port, "CommunicationMode": mode}]);
                details.insert("SftpPorts".to_owned(), ports);
            }
        }
        let custom = self.provider_type() != Ok(ProviderType::ServiceManaged);
        if let Some(details) = all.get_mut("IdentityProviderDetails").filter(|_| custom) {
            let methods = json!({"SftpAuthenticationMethods": "PUBLIC_KEY_OR_PASSWORD"});
            fill(details, methods);
        }
        all
    }
}

impl ProtocolDetails {
    fn changed(self, change: Self) -> Self {
        let old = self;
        Self {
            as2_transports: change.as2_transports.or(old.as2_transports),
            passive_ip: change.passive_ip.or(old.passive_ip),
            proxy_config: change.proxy_config.or(old.proxy_config),
            set_stat_option: change.set_stat_option.or(old.set_stat_option),
            sftp_ports: change.sftp_ports.or(old.sftp_ports),
            tls_session_resumption_mode: change
                .tls_session_resumption_mode
                .or(old.tls_session_resumption_mode),
        }
    }
}

/// Adds what is not there.
fn fill(object: &mut Value, defaults: Value) {
    if let (Some(object), Value::Object(defaults)) = (object.as_object_mut(), defaults) {
        for (key, value) in defaults {
            object.entry(key).or_insert(value);
        }
    }
}

/// AWS leaves out what is not said.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let said = members.into_iter().filter(|(_, value)| !value.is_null());
            let said = said.map(|(key, value)| (key, without_nulls(value)));
            Value::Object(said.collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn one_of(member: &str, value: Option<&String>, allowed: &[&str]) -> Result<(), Fault> {
    match value {
        Some(value) if !allowed.contains(&value.as_str()) => {
            let allowed = allowed.join(", ");
            let shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
            invalid(format!("{member} is {shown:?}; allowed: {allowed}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn refused<T>(message: &str) -> Result<T, Fault> {
    invalid(message.to_owned())
}

const fn invalid<T>(message: String) -> Result<T, Fault> {
    Err(Fault::Invalid(message))
}

/// AWS's for servers that are made by its API.
const DEFAULT_POLICY: &str = "TransferSecurityPolicy-2024-01";
const ENFORCED: &str = "PROXY_PROTOCOL_V2_ENFORCED";
const CLIENT_FIRST: &str = "CLIENT_TALK_FIRST";
const FUNCTION_CHARS_MAX: usize = 170;
const BANNER_BYTES_MAX: usize = 4096;
/// The lowest port beside 22 that AWS allows.
const PORT_MIN: u16 = 2000;
const SHOWN_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> ServerSettings {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        let role = "arn:aws:iam::123456789012:role/idp";
        let function = "arn:aws:lambda:eu-west-1:123456789012:function:idp";
        for good in [
            json!({}),
            json!({"Domain": "S3", "Protocols": ["SFTP"], "EndpointType": "PUBLIC"}),
            json!({"EndpointType": "VPC", "EndpointDetails": {"VpcId": "vpc-1"}}),
            json!({"IdentityProviderType": "AWS_LAMBDA",
                "IdentityProviderDetails": {"Function": function}}),
            json!({"IdentityProviderType": "API_GATEWAY",
                "IdentityProviderDetails": {"Url": "https://a.example", "InvocationRole": role}}),
            json!({"LoggingRole": "", "EndpointDetails": {}}),
            json!({"ProtocolDetails": {"SftpPorts": [{"SftpPort": 2022}]}}),
        ] {
            assert_eq!(read(good.clone()).check(), Ok(()), "{good}");
        }
        for bad in [
            json!({"Domain": "EFS"}),
            json!({"Domain": "s3"}),
            json!({"Protocols": []}),
            json!({"Protocols": ["SFTP", "FTPS"]}),
            json!({"EndpointType": "VPC"}),
            json!({"EndpointType": "VPC_ENDPOINT"}),
            json!({"EndpointDetails": {"VpcId": "vpc-1"}}),
            json!({"IdentityProviderType": "AWS_LAMBDA"}),
            json!({"IdentityProviderType": "AWS_LAMBDA",
                "IdentityProviderDetails": {"Function": "idp"}}),
            json!({"IdentityProviderType": "AWS_LAMBDA",
                "IdentityProviderDetails": {"Url": "https://a.example"}}),
            json!({"IdentityProviderType": "API_GATEWAY",
                "IdentityProviderDetails": {"Url": "https://a.example"}}),
            json!({"IdentityProviderType": "AWS_DIRECTORY_SERVICE"}),
            json!({"IdentityProviderType": "LDAP"}),
            json!({"IdentityProviderDetails": {"Function": function}}),
            json!({"IdentityProviderType": "AWS_LAMBDA", "IdentityProviderDetails":
                {"Function": function, "SftpAuthenticationMethods": "ANY"}}),
            json!({"PreAuthenticationLoginBanner": "gr\u{fc}n"}),
            json!({"PreAuthenticationLoginBanner": "x".repeat(4097)}),
            json!({"LoggingRole": "logs"}),
            json!({"ProtocolDetails": {"SftpPorts": [{"SftpPort": 80}]}}),
            json!({"ProtocolDetails": {"SftpPorts": [{"SftpPort": 70_000}]}}),
            json!({"ProtocolDetails": {"SftpPorts": [{"SftpPort": 2022}, {"SftpPort": 2023}]}}),
            json!({"ProtocolDetails": {"SetStatOption": "NO"}}),
        ] {
            let found = read(bad.clone()).check();
            assert!(matches!(found, Err(Fault::Invalid(_))), "{bad}: {found:?}");
        }
    }

    #[test]
    fn a_change_leaves_the_rest_and_a_description_is_complete() {
        let old = read(json!({
            "PreAuthenticationLoginBanner": "hello",
            "ProtocolDetails": {"SetStatOption": "ENABLE_NO_OP"},
        }));
        let change = read(json!({
            "SecurityPolicyName": "TransferSecurityPolicy-2020-06",
            "ProtocolDetails": {"PassiveIp": "0.0.0.0"},
        }));
        let shown = old.changed(change).described(2023);
        assert_eq!(
            shown,
            json!({
                "Domain": "S3",
                "EndpointType": "PUBLIC",
                "IdentityProviderType": "SERVICE_MANAGED",
                "IpAddressType": "IPV4",
                "PreAuthenticationLoginBanner": "hello",
                "ProtocolDetails": {
                    "PassiveIp": "0.0.0.0",
                    "SetStatOption": "ENABLE_NO_OP",
                    "SftpPorts": [
                        {"CommunicationMode": "SERVER_TALK_FIRST", "SftpPort": 2023}
                    ],
                    "TlsSessionResumptionMode": "ENFORCED",
                },
                "Protocols": ["SFTP"],
                "S3StorageOptions": {"DirectoryListingOptimization": "DISABLED"},
                "SecurityPolicyName": "TransferSecurityPolicy-2020-06",
            })
        );
    }
}
