//! The corpus of queries that every database is held to, put to the page engine: so what the
//! engine keeps is what a database would say.

use tidegate_core::{Commit, Fence, Lsn, RowChange, TableChange, TenantId, Xid};
use tidegate_ports::conformance::{corpus_cases, corpus_rows, corpus_schema};
use tidegate_view::{Effect, Limits, Pages, Seed};

/// Each page, opened empty and filled by one transaction, is what the corpus says.
#[test]
fn pages_are_what_the_corpus_says() {
    let schema = corpus_schema();
    let tenant = TenantId::parse("single").unwrap();
    for case in corpus_cases() {
        let (mut pages, mut effects) = (Pages::new(Limits::default()), Vec::new());
        let page = pages.register(&tenant, case.query(&schema), &mut effects);
        let page = page.unwrap();
        let [Effect::NeedSeed(request)] = effects[..] else {
            panic!("{effects:?}")
        };
        let seed = Seed {
            rows: Vec::new(),
            complete: true,
            fence: Fence::Prefix(Lsn::ZERO),
        };
        pages.seed(request, seed, &mut effects);
        let upsert = |row| RowChange::Upsert { old_key: None, row };
        let change = TableChange {
            tenant: tenant.clone(),
            table: schema.table().clone(),
            schema: schema.fingerprint(),
            rows: Some(corpus_rows().into_iter().map(upsert).collect()),
        };
        let commit = Commit {
            lsn: Lsn::new(1),
            xid: Xid::new(1),
            committed_at_micros: 0,
        };
        pages.apply(commit, change, &mut effects);
        case.check(&pages.rows(page).unwrap());
    }
}
