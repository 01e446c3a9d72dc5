//! Names of buckets and regions, refused where no store could be meant by them. What only AWS refuses is left to the host, which knows
//! where requests go: other stores, and buckets of AWS from before 2018, have capitals, underscores and other lengths in their names.

use super::document::preview;

/// Bytes of a bucket's name: what S3 once allowed, and still the most that any store takes.
const MAX_BUCKET_BYTES: usize = 255;

/// Bytes of the ARN of an access point: AWS's own limit.
const MAX_ARN_BYTES: usize = 2_048;

/// Bytes of a label of a host's name, which a region becomes.
const MAX_LABEL_BYTES: usize = 63;

/// Services whose access points stand in for a bucket.
const ACCESS_POINT_SERVICES: [&str; 3] = ["s3", "s3-outposts", "s3-object-lambda"];

/// Says why a text is no bucket, and what would be one.
pub(super) fn check_bucket(bucket: &str, path_style: bool) -> Result<(), String> {
    let shown = preview(bucket);
    if bucket.starts_with("arn:") {
        return check_arn(bucket, path_style);
    }
    if let Some((scheme, rest)) = bucket.split_once("://") {
        let name = rest.split('/').next().unwrap_or_default();
        let scheme = preview(scheme);
        return Err(format!("`bucket` must be a bucket's name without {scheme}://, such as {:?}, not {shown:?}", preview(name)));
    }
    if bucket.contains('/') {
        return Err(format!("`bucket` must be a bucket's name alone, not {shown:?}; what follows the slash belongs in `path`"));
    }
    if bucket.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("`bucket` must not have spaces, line ends or control characters: {shown:?}"));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if !bucket.bytes().all(good) || bucket.bytes().all(|byte| byte == b'.') {
        return Err(format!("`bucket` must be made of letters and digits of ASCII, dots, hyphens and underscores, not {shown:?}"));
    }
    if bucket.len() > MAX_BUCKET_BYTES {
        return Err(format!("`bucket` has {} characters; at most {MAX_BUCKET_BYTES} are possible", bucket.len()));
    }
    Ok(())
}

fn check_arn(arn: &str, path_style: bool) -> Result<(), String> {
    const ACCEPTED: &str = "of ARNs, only that of an access point in one region is accepted: arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME";
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, region, account, resource] = parts.as_slice() else {
        return Err(format!("`bucket` is no bucket's name; {ACCEPTED}"));
    };
    if *service == "s3" && region.is_empty() && account.is_empty() {
        let bucket = resource.split('/').next().unwrap_or_default();
        return Err(format!("`bucket` must be the bucket's name, such as {:?}, not its ARN; {ACCEPTED}", preview(bucket)));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte);
    let is_access_point = ACCESS_POINT_SERVICES.contains(service)
        && is_label(region)
        && !account.is_empty()
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && ["accesspoint", "outpost"]
            .iter()
            .any(|kind| resource.strip_prefix(kind).is_some_and(|rest| rest.len() > 1 && rest.starts_with(['/', ':'])))
        && arn.bytes().all(good)
        && arn.len() <= MAX_ARN_BYTES;
    if !is_access_point {
        return Err(format!("`bucket`: {:?} is no access point; {ACCEPTED}", preview(arn)));
    }
    if path_style {
        return Err("`use_path_style` cannot be used with the ARN of an access point in `bucket`".to_owned());
    }
    Ok(())
}

/// Says why a text is no region. It becomes a part of a host's name, also where an endpoint is named.
pub(super) fn check_region(region: &str) -> Result<(), String> {
    if is_label(region) {
        return Ok(());
    }
    let rule = format!("1 to {MAX_LABEL_BYTES} letters, digits and hyphens, not beginning with a hyphen");
    Err(format!("`region` must be the code of a region such as eu-central-1 ({rule}), not {:?}", preview(region)))
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_any_store_are_accepted() {
        let long = "b".repeat(MAX_BUCKET_BYTES);
        for bucket in [
            "lake",
            "b",
            "my.lake",
            "Lake",
            "my_lake",
            "192.168.1.1",
            "xn--lake",
            "a..b",
            "-lake-",
            "tenant:lake",
            "lake--use1-az4--x-s3",
            "my-ap-abcdefgh-s3alias",
            &long,
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake",
            "arn:aws:s3:eu-west-1:123456789012:accesspoint:lake",
            "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/lake",
            "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01234567890123456/accesspoint/lake",
        ] {
            assert_eq!(check_bucket(bucket, false), Ok(()), "{bucket}");
        }
    }

    #[test]
    fn a_bucket_that_no_store_has_is_refused_with_what_would_be_right() {
        let check = |bucket: &str, message: &str| {
            let refused = check_bucket(bucket, false).expect_err(bucket);
            assert!(refused.starts_with("`bucket`") && refused.contains(message), "{bucket:?}: {refused}");
            assert!(!refused.contains(char::is_control), "{refused:?}");
        };
        check("lake/prefix", "belongs in `path`");
        check("lake/", "belongs in `path`");
        check("/lake", "belongs in `path`");
        check("s3://lake", "such as \"lake\"");
        check("s3://lake/prefix", "such as \"lake\"");
        check("S3A://lake", "without S3A://");
        check("https://lake.s3.amazonaws.com", "without https://");
        for bucket in [" lake", "lake ", "la ke", "lake\n", "\tlake", "lake\r\n", "la\u{0}ke", "lake\u{a0}", "lake\u{7f}"] {
            check(bucket, "spaces, line ends or control characters");
        }
        for bucket in ["läke", "lake?", "lake#1", "lake%2f", "la\\ke", "lake*", "{{TABLE}}", "${BUCKET}", "l@ke", ".", "..", "..."] {
            check(bucket, "letters and digits of ASCII");
        }
        check(&"b".repeat(MAX_BUCKET_BYTES + 1), "at most 255");
        check("arn:aws:s3:::lake", "such as \"lake\", not its ARN; of ARNs, only that of an access point");
        check("arn:aws:s3:::lake/prefix/*", "such as \"lake\"");
        check("arn:aws:s3:eu-west-1:123456789012:lake", "is no access point");
        check("arn:aws:s3::123456789012:accesspoint/lake.mrap", "in one region");
        check("arn:aws:iam::123456789012:role/lake", "is no access point");
        check("arn:aws:s3:eu-west-1:123456789012:accesspoint/", "is no access point");
        check("arn:aws:s3:eu-west-1:123456789012:accesspoint/la\nke", "is no access point");
        check("arn:aws:s3", "accesspoint/NAME");
        check("arn:", "accesspoint/NAME");
        let access_point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake";
        assert_eq!(
            check_bucket(access_point, true).unwrap_err(),
            "`use_path_style` cannot be used with the ARN of an access point in `bucket`"
        );
    }

    #[test]
    fn a_region_is_a_label() {
        for region in ["us-east-1", "r", "auto", "garage", "RegionOne", "EU", "us-gov-west-1", "nl-1", "default", "1", &"r".repeat(63)] {
            assert_eq!(check_region(region), Ok(()), "{region}");
        }
        let long = "r".repeat(64);
        for region in [
            "us_east_1",
            "EU (Frankfurt)",
            "us east 1",
            "us-east-1\n",
            " us-east-1",
            "us-east-1 ",
            "-1",
            "us.east",
            "é",
            "a/b",
            "a@b",
            "\u{0}",
            &long,
        ] {
            let refused = check_region(region).expect_err(region);
            assert!(refused.starts_with("`region` must be the code of a region such as eu-central-1 (1 to 63"), "{refused}");
            assert!(!refused.contains(char::is_control), "{refused:?}");
        }
    }
}
