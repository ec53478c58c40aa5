//! Roles: whose credentials sessions use, and which trust policies have to change.

use std::collections::{BTreeMap, BTreeSet};

use super::super::described::{Descriptions, IamRole};
use super::super::report::{Finding, Topic, listed};
use super::super::trust::{Assuming, Trust, trusts_transfer};
use super::Gateway;
use crate::config::Roles;

/// Says what the roles of users mean with the configuration.
pub(super) fn permissions(found: &Descriptions, gateway: &Gateway, out: &mut Vec<Finding>) {
    let count = of_users(found).len().max(found.roles.len());
    let finding = match gateway.roles {
        Roles::Assume => {
            let text = "sessions have the credentials of their roles (roles = \"assume\"), which \
                        need two more S3 actions for uploads and two for tags";
            Finding::note(Topic::Permissions, text).numbered(19)
        }
        Roles::Map => {
            without_table(found, gateway, out);
            unnamed(found, Topic::Permissions, out);
            Finding::note(
                Topic::Permissions,
                "sessions have the keys of [role.NAME]: each role needs such a table",
            )
        }
        Roles::Gateway if count == 0 => return,
        Roles::Gateway => Finding::open(
            Topic::Permissions,
            "sessions use the gateway's own credentials and are confined by their mappings only",
            "set identity.roles = \"assume\", or --accept permissions",
        )
        .numbered(13),
    };
    out.push(finding);
}

/// Names roles whose users would be refused.
fn without_table(found: &Descriptions, gateway: &Gateway, out: &mut Vec<Finding>) {
    let mut roles: BTreeSet<&str> = of_users(found).into_keys().collect();
    roles.extend(of_answers(found));
    let missing: Vec<_> = roles
        .into_iter()
        .filter(|role| !gateway.role_tables.contains(*role))
        .collect();
    if !missing.is_empty() {
        out.push(Finding::open(
            Topic::Permissions,
            format!("no [role.NAME] is for {}", listed(missing.iter().copied())),
            "add a table with the arn and its keys for each",
        ));
    }
}

/// Says that nothing is known of the roles that an identity provider answers with.
fn unnamed(found: &Descriptions, topic: Topic, out: &mut Vec<Finding>) {
    let mut asked = found.servers.values().filter(|one| {
        let provider = one.provider_type.as_deref();
        !matches!(provider, None | Some("SERVICE_MANAGED"))
    });
    let Some(server) = asked.next() else { return };
    if of_answers(found).next().is_none() {
        out.push(Finding::open(
            topic,
            format!(
                "{}: its identity provider answers with roles, and none is described",
                server.id
            ),
            "add the output of aws iam get-role for each role that it answers with",
        ));
    }
}

/// Returns the described roles that Transfer Family gives to sessions, as far as their trust
/// policies tell: not those that a server itself has.
fn of_answers(found: &Descriptions) -> impl Iterator<Item = &str> {
    let is_own = |arn: &String| {
        found
            .servers
            .values()
            .any(|one| one.own_roles.contains(arn))
    };
    let roles = found.roles.values();
    let roles = roles.filter(move |role| !is_own(&role.arn) && trusts_transfer(&role.trust));
    roles.map(|role| role.arn.as_str())
}

/// Looks at the trust policy of each role that users have.
pub(super) fn trust(found: &Descriptions, gateway: &Gateway, out: &mut Vec<Finding>) {
    match gateway.roles {
        Roles::Assume => {}
        // Nobody assumes a role.
        Roles::Map | Roles::Gateway => return,
    }
    let own: Vec<_> = found
        .servers
        .values()
        .flat_map(|one| &one.own_roles)
        .collect();
    let users = of_users(found);
    let undescribed = users
        .iter()
        .filter(|(role, _)| !found.roles.contains_key(**role));
    for (role, names) in undescribed {
        out.push(Finding::open(
            Topic::Trust,
            format!(
                "{role}: not described; it is the role of {}",
                listed(names.iter().copied())
            ),
            "add the output of aws iam get-role --role-name NAME",
        ));
    }
    unnamed(found, Topic::Trust, out);
    let Some(principal) = &gateway.principal else {
        if !users.is_empty() || !found.roles.is_empty() {
            out.push(Finding::open(
                Topic::Trust,
                "the trust policies were not compared",
                "name the gateway's own role: --gateway-role ARN",
            ));
        }
        return;
    };
    let assuming = Assuming {
        principal,
        external_id: gateway.external_id.as_deref(),
        has_tags: gateway.has_session_tags,
        has_source_identity: gateway.has_source_identity,
    };
    for role in found.roles.values() {
        let arn = &role.arn;
        if own.contains(&arn) && !users.contains_key(arn.as_str()) {
            let text = format!("{arn}: a role of the service itself, not needed here");
            out.push(Finding::note(Topic::Trust, text));
            continue;
        }
        // A state of Terraform has the roles of everything else as well.
        if !users.contains_key(arn.as_str()) && !trusts_transfer(&role.trust) {
            continue;
        }
        out.push(of_role(role, &assuming));
    }
}

/// Says whether a role trusts the gateway.
fn of_role(role: &IamRole, assuming: &Assuming<'_>) -> Finding {
    let arn = &role.arn;
    let name = arn.rsplit('/').next().unwrap_or(arn);
    match assuming.trusted_by(&role.trust) {
        Trust::Given => Finding::ok(Topic::Trust, format!("{arn}: trusts the gateway")),
        Trust::Conditional(why) => Finding::open(
            Topic::Trust,
            format!("{arn}: trusts the gateway {why}"),
            "look at the statement, or --accept trust",
        ),
        Trust::Unreadable(why) => Finding::open(
            Topic::Trust,
            format!("{arn}: {why}"),
            "look at the trust policy of the role",
        ),
        Trust::Missing(document) => Finding::open(
            Topic::Trust,
            format!("{arn}: does not trust {}", assuming.principal.arn()),
            if is_name(name) {
                format!("aws iam update-assume-role-policy --role-name {name} --policy-document:")
            } else {
                "no role of IAM has such a name: look where the description comes from; its \
                 trust policy would be:"
                    .to_owned()
            },
        )
        .with_document(document),
    }
}

/// Says whether IAM allows the name of a role: the line with it is made to be pasted into a shell.
fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(is_allowed)
}

/// Returns the roles of users, each with the names of those who have it.
fn of_users(found: &Descriptions) -> BTreeMap<&str, Vec<&str>> {
    let mut roles: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ((_, name), user) in &found.users {
        if let Some(role) = &user.role {
            roles.entry(role).or_default().push(name);
        }
    }
    roles
}
