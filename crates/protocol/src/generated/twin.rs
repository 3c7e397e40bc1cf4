//! The children of a filter wrapper, which are a vector of unions on the wire.
//!
//! flatc has no Rust for such a vector. It is wire-identical to two fields, a vector of tags and a
//! vector of tables, so Rust is generated from a twin of the schema that spells it so: the fields
//! `filters_type` and `filters` of `BasicSqlDataFilterWrapper`, the latter of `AnyTable`.
//!
//! The price is that verifying a buffer says nothing about a wrapper's children, except that each
//! is some table within the buffer. Here, and only here, a child becomes what its tag says, after
//! it has been verified as that.

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, Vector};
use flatbuffers::{Verifiable, Verifier, VerifierOptions, WIPOffset};

use super::sql::sql_schema::{
    AnyTable, BasicSqlDataFilter, BasicSqlDataFilterUnion, BasicSqlDataFilterWrapper,
    BasicSqlDataFilterWrapperArgs, SQLFilterWrapperType,
};

/// One verified member of a wrapper's `filters`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child<'b> {
    Wrapper(BasicSqlDataFilterWrapper<'b>),
    Filter(BasicSqlDataFilter<'b>),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ChildError {
    #[error("a filter wrapper has {tags} tags for {tables} children")]
    Lengths { tags: usize, tables: usize },
    #[error("{0} is not the tag of a filter")]
    UnknownTag(u8),
    #[error(transparent)]
    Invalid(#[from] InvalidFlatbuffer),
}

/// Reads wrappers of one verified buffer, top down.
///
/// Offsets may be shared, so a buffer of a few hundred bytes can spell a tree with more nodes than
/// there is time for. One verifier serves the whole walk: its `max_tables` and `max_apparent_size`
/// count every visit to a child, and end such a walk. How deep wrappers nest is left to the
/// caller, who recurses.
pub(crate) struct Walk<'o, 'b> {
    buffer: &'b [u8],
    verifier: Verifier<'o, 'b>,
}

impl<'o, 'b> Walk<'o, 'b> {
    pub(crate) fn new(options: &'o VerifierOptions, buffer: &'b [u8]) -> Self {
        Self {
            buffer,
            verifier: Verifier::new(options, buffer),
        }
    }

    /// The children of a wrapper in their order. After an error the walk is over.
    pub(crate) fn children(
        &mut self,
        wrapper: BasicSqlDataFilterWrapper<'b>,
    ) -> Result<Vec<Child<'b>>, ChildError> {
        // What the verifier has seen of one buffer must never vouch for another.
        assert!(
            std::ptr::eq(wrapper._tab.buf(), self.buffer),
            "a walk stays in its buffer"
        );

        let tags = wrapper.filters_type().unwrap_or_default();
        let tables = wrapper.filters().unwrap_or_default();
        if tags.len() != tables.len() {
            return Err(ChildError::Lengths {
                tags: tags.len(),
                tables: tables.len(),
            });
        }
        tags.iter()
            .zip(tables.iter())
            .map(|(tag, table)| self.child(tag, table))
            .collect()
    }

    fn child(
        &mut self,
        tag: BasicSqlDataFilterUnion,
        table: AnyTable<'b>,
    ) -> Result<Child<'b>, ChildError> {
        match tag {
            BasicSqlDataFilterUnion::BasicSqlDataFilterWrapper => {
                BasicSqlDataFilterWrapper::run_verifier(&mut self.verifier, table._tab.loc())?;
                #[expect(unsafe_code, reason = "the line above has verified the table as this")]
                let wrapper = unsafe { BasicSqlDataFilterWrapper::init_from_table(table._tab) };
                Ok(Child::Wrapper(wrapper))
            }
            BasicSqlDataFilterUnion::BasicSqlDataFilter => {
                BasicSqlDataFilter::run_verifier(&mut self.verifier, table._tab.loc())?;
                #[expect(unsafe_code, reason = "the line above has verified the table as this")]
                let filter = unsafe { BasicSqlDataFilter::init_from_table(table._tab) };
                Ok(Child::Filter(filter))
            }
            unknown => Err(ChildError::UnknownTag(unknown.0)),
        }
    }
}

/// A finished child, to be put into a wrapper of the same builder.
#[derive(Clone, Copy)]
pub(crate) enum WrittenChild<'b> {
    Wrapper(WIPOffset<BasicSqlDataFilterWrapper<'b>>),
    Filter(WIPOffset<BasicSqlDataFilter<'b>>),
}

/// Writes a wrapper around children that are already in the builder.
pub(crate) fn write_wrapper<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    kind: SQLFilterWrapperType,
    children: &[WrittenChild<'b>],
) -> WIPOffset<BasicSqlDataFilterWrapper<'b>> {
    let mut tags = Vec::with_capacity(children.len());
    let mut tables = Vec::with_capacity(children.len());
    for child in children {
        let (tag, table) = match child {
            WrittenChild::Wrapper(offset) => (
                BasicSqlDataFilterUnion::BasicSqlDataFilterWrapper,
                offset.value(),
            ),
            WrittenChild::Filter(offset) => {
                (BasicSqlDataFilterUnion::BasicSqlDataFilter, offset.value())
            }
        };
        tags.push(tag);
        tables.push(WIPOffset::<AnyTable<'b>>::new(table));
    }
    let filters_type: WIPOffset<Vector<'b, BasicSqlDataFilterUnion>> = builder.create_vector(&tags);
    let filters: WIPOffset<Vector<'b, ForwardsUOffset<AnyTable<'b>>>> =
        builder.create_vector(&tables);
    let arguments = BasicSqlDataFilterWrapperArgs {
        filter_wrapper_type: kind,
        filters_type: Some(filters_type),
        filters: Some(filters),
    };
    BasicSqlDataFilterWrapper::create(builder, &arguments)
}
