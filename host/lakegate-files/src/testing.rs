//! Arrow IPC streams for tests that no ordinary writer produces.

use arrow_ipc::{
    Endianness, FieldBuilder, IntBuilder, KeyValueBuilder, MessageBuilder, MessageHeader, MetadataVersion, SchemaBuilder, Type,
};

/// The continuation marker before each message of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A big-endian stream whose schema has one 32-bit column `v`, without rows.
pub fn big_endian_stream() -> Vec<u8> {
    let mut it = flatbuffers::FlatBufferBuilder::new();
    let (key, value, name) = (it.create_string("cq:table_name"), it.create_string("t"), it.create_string("v"));
    let mut pair = KeyValueBuilder::new(&mut it);
    pair.add_key(key);
    pair.add_value(value);
    let pair = pair.finish();
    let pairs = it.create_vector(&[pair]);
    let mut int = IntBuilder::new(&mut it);
    int.add_bitWidth(32);
    int.add_is_signed(true);
    let int = int.finish().as_union_value();
    let children = it.create_vector::<flatbuffers::ForwardsUOffset<arrow_ipc::Field<'_>>>(&[]);
    let mut field = FieldBuilder::new(&mut it);
    field.add_name(name);
    field.add_nullable(true);
    field.add_type_type(Type::Int);
    field.add_type_(int);
    field.add_children(children);
    let field = field.finish();
    let fields = it.create_vector(&[field]);
    let mut schema = SchemaBuilder::new(&mut it);
    schema.add_endianness(Endianness::Big);
    schema.add_fields(fields);
    schema.add_custom_metadata(pairs);
    let schema = schema.finish().as_union_value();
    let mut message = MessageBuilder::new(&mut it);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_header(schema);
    let message = message.finish();
    it.finish(message, None);
    let mut header = it.finished_data().to_vec();
    header.resize(header.len().next_multiple_of(8), 0);
    [CONTINUATION.as_slice(), &(header.len() as u32).to_le_bytes(), &header, &CONTINUATION, &[0; 4]].concat()
}

/// A stream or file in which each buffer that decompresses to `honest` bytes claims another size.
pub fn lying(ipc: &[u8], honest: i64, claim: i64) -> Vec<u8> {
    let mut lying = ipc.to_vec();
    let mut found = 0;
    for at in 0..ipc.len().saturating_sub(7) {
        if ipc.get(at..at + 8) == Some(&honest.to_le_bytes()) {
            lying[at..at + 8].copy_from_slice(&claim.to_le_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "no buffer unpacks to {honest} bytes");
    lying
}
