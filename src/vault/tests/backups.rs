//! Backups as the vault takes them: one at a time, and what broke off is recorded.

use std::sync::Arc;

use crate::crypto::Identity;
use crate::vault::testing::Deployment;
use crate::vault::{NewBackup, VaultError};

#[tokio::test]
async fn one_at_a_time_and_what_broke_off_is_recorded() {
    let it = Deployment::new().await;
    let recipient = Identity::generate().1.to_text().unwrap();
    let new = || NewBackup {
        recipients: vec![recipient.clone()],
    };
    let recorded = async |kind: &str| {
        let records = it.audit().await;
        records.iter().filter(|record| record.0 == kind).count()
    };
    let other = Arc::clone(&it.vault.backing_up).try_lock_owned().unwrap();
    let refused = it.vault.take_backup(&it.operator, new()).await;
    assert!(matches!(refused.err(), Some(VaultError::Conflict(_))));
    assert_eq!(recorded("backup.started").await, 0);
    drop(other);

    // Nobody receives it.
    let taken = it.vault.take_backup(&it.operator, new()).await.unwrap();
    drop(taken);
    for _ in 0..200 {
        if recorded("backup.aborted").await > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(recorded("backup.started").await, 1);
    assert_eq!(recorded("backup.aborted").await, 1);
    // The next one may begin.
    drop(it.vault.take_backup(&it.operator, new()).await.unwrap());
}
