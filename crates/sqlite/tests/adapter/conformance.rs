//! What is promised of every database.

use async_trait::async_trait;
use tidegate_core::TenantId;
use tidegate_ports::Database;
use tidegate_ports::conformance::{DatabaseSite, answers_conform, changes_conform};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{Folder, config, foreign};

struct Site {
    db: SqliteDatabase,
    folder: Folder,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new();
        let db = SqliteDatabase::open(config(&folder.file())).unwrap();
        Self { db, folder }
    }
}

#[async_trait]
impl DatabaseSite for Site {
    fn database(&self) -> &dyn Database {
        &self.db
    }

    fn tenant(&self) -> TenantId {
        TenantId::parse("single").unwrap()
    }

    async fn run(&self, statements: &str) {
        let all = format!("BEGIN IMMEDIATE; {statements}; COMMIT");
        foreign(&self.folder.file()).execute_batch(&all).unwrap();
    }
}

/// Queries mean what they mean everywhere.
#[tokio::test]
async fn answers() {
    answers_conform(&Site::new()).await;
}

/// Snapshots, changes and commands fit together.
#[tokio::test]
async fn changes() {
    changes_conform(&Site::new()).await;
}
