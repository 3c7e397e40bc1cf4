//! What is promised of every database.

use async_trait::async_trait;
use tidegate_core::TenantId;
use tidegate_ports::Database;
use tidegate_ports::conformance::{DatabaseSite, answers_conform, changes_conform};

use crate::harness::{Site, tenant};

#[async_trait]
impl DatabaseSite for Site {
    fn database(&self) -> &dyn Database {
        &self.db
    }

    fn tenant(&self) -> TenantId {
        tenant()
    }

    async fn run(&self, statements: &str) {
        self.sql(&format!("BEGIN; {statements}; COMMIT")).await;
    }
}

/// Queries mean what they mean everywhere.
#[tokio::test]
async fn answers() {
    answers_conform(&Site::new().await).await;
}

/// Snapshots, changes and commands fit together.
#[tokio::test]
async fn changes() {
    changes_conform(&Site::new().await).await;
}
