//! May they? Pure functions from what is known to a decision with its reason.

use crate::model::{EnvironmentId, OperatorRole, Permission, Principal, RoleId};

/// Whether a principal may have a credential's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, through this role: the first of the caller's by name that may read it.
    Release(RoleId),
    /// No.
    Deny(Reason),
}

/// Why not. Goes to the audit log and the metrics, never to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Values go to workloads only.
    NotAWorkload,
    /// There is no such credential, or nothing of it that could be released.
    NotThere,
    /// It belongs to another environment.
    OtherEnvironment,
    /// None of the caller's roles may read it.
    NoRole,
}

impl Reason {
    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAWorkload => "not-a-workload",
            Self::NotThere => "not-there",
            Self::OtherEnvironment => "other-environment",
            Self::NoRole => "no-role",
        }
    }
}

/// Decides over one credential. `credential` is its environment and the roles that may read it, or
/// `None` when it is not there; both cases take the same path.
pub fn may_have_value(
    principal: &Principal,
    credential: Option<(EnvironmentId, &[RoleId])>,
) -> Decision {
    let Principal::Workload {
        environment, roles, ..
    } = principal
    else {
        return Decision::Deny(Reason::NotAWorkload);
    };
    let Some((home, readers)) = credential else {
        return Decision::Deny(Reason::NotThere);
    };
    if home != *environment {
        return Decision::Deny(Reason::OtherEnvironment);
    }
    // The caller's roles are sorted by name.
    match roles.iter().find(|role| readers.contains(&role.id)) {
        Some(role) => Decision::Release(role.id),
        None => Decision::Deny(Reason::NoRole),
    }
}

/// Whether an operator may do something. Workloads may do nothing of the kind.
pub fn may_operate(principal: &Principal, permission: Permission) -> bool {
    match principal {
        Principal::Operator { role, .. } => allows(*role, permission),
        Principal::Workload { .. } => false,
    }
}

/// Whether a role of operators includes a permission.
pub fn allows(role: OperatorRole, permission: Permission) -> bool {
    role.permissions().contains(&permission)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, RoleRef, WorkloadId};

    fn workload(environment: u8, roles: &[(&str, u8)]) -> Principal {
        Principal::Workload {
            id: WorkloadId::from_bytes([1; 16]),
            name: "w".parse().unwrap(),
            environment: EnvironmentId::from_bytes([environment; 16]),
            environment_name: "e".parse().unwrap(),
            roles: roles
                .iter()
                .map(|(name, id)| RoleRef {
                    name: name.parse().unwrap(),
                    id: RoleId::from_bytes([*id; 16]),
                })
                .collect(),
            age_recipient: None,
            key: KeyId::from_bytes([2; 16]),
        }
    }

    #[test]
    fn a_role_of_the_same_environment_gets_it_and_nobody_else() {
        let readers = [RoleId::from_bytes([7; 16]), RoleId::from_bytes([8; 16])];
        let home = EnvironmentId::from_bytes([1; 16]);
        let there = Some((home, &readers[..]));
        let decide = |environment, roles: &[(&str, u8)], what| {
            may_have_value(&workload(environment, roles), what)
        };
        assert_eq!(
            decide(1, &[("a", 8), ("b", 7)], there),
            Decision::Release(readers[1])
        );
        assert_eq!(
            decide(1, &[("a", 9)], there),
            Decision::Deny(Reason::NoRole)
        );
        assert_eq!(decide(1, &[], there), Decision::Deny(Reason::NoRole));
        assert_eq!(
            decide(2, &[("a", 7)], there),
            Decision::Deny(Reason::OtherEnvironment)
        );
        assert_eq!(
            decide(1, &[("a", 7)], None),
            Decision::Deny(Reason::NotThere)
        );
    }

    #[test]
    fn no_operator_gets_a_value_whatever_the_role() {
        for role in OperatorRole::ALL {
            let principal = Principal::Operator {
                id: crate::model::OperatorId::from_bytes([1; 16]),
                name: "O".parse().unwrap(),
                role: *role,
                key: KeyId::from_bytes([2; 16]),
            };
            let readers = [RoleId::from_bytes([7; 16])];
            let home = EnvironmentId::from_bytes([1; 16]);
            assert_eq!(
                may_have_value(&principal, Some((home, &readers))),
                Decision::Deny(Reason::NotAWorkload)
            );
        }
    }

    #[test]
    fn only_tech_ops_write_credentials_and_principals() {
        for role in OperatorRole::ALL {
            let expected = *role == OperatorRole::TechOps;
            assert_eq!(allows(*role, Permission::WriteCredentials), expected);
            assert_eq!(allows(*role, Permission::WritePrincipals), expected);
            let audit = matches!(role, OperatorRole::TechOps | OperatorRole::Auditor);
            assert_eq!(allows(*role, Permission::ReadAudit), audit);
        }
    }
}
