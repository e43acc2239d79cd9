//! What a new deployment tells its user: addresses, credential, and three commands to copy.

use super::{
    deployment::{Deployment, Role},
    spawn,
};

/// Writes the text.
pub fn text(deployment: &Deployment, exe: &str) -> String {
    let of = |role| deployment.processes.iter().filter(move |process| process.role == role);
    let nodes: Vec<_> = of(Role::Node).map(|node| format!("{} {}", node.name, node.public)).collect();
    let (dir, key) = (quote(&deployment.dir.to_string_lossy()), quote(&deployment.token_file.to_string_lossy()));
    let api = deployment.api.join(",");
    let first = deployment.api.first().map(String::as_str).unwrap_or_default();
    let url = format!("{first}/v1/files/{}/hello.txt", deployment.bucket);
    let credential = format!("-H \"Authorization: Bearer $(cat {key})\"");
    let logs = quote(&deployment.dir.join(spawn::LOGS).to_string_lossy());
    format!(
        "API     {api}\nnodes   {}\ntoken   {key}\nlogs    {logs}\n\n\
         export FLOTILLA_API={api}\nexport FLOTILLA_TOKEN=$(cat {key})\n\n\
         curl -sS -X PUT --data-binary 'hello, fleet' {credential} {url}\n\
         curl -sS {credential} {url}\n\
         {} ls --dir {dir} {}\n",
        nodes.join("\n        "),
        quote(exe),
        deployment.bucket,
    )
}

/// Quotes a word for a shell where it needs that.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ':' | '@' | '%');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_would_change_are_quoted() {
        for (word, quoted) in
            [("/a/b-c", "/a/b-c"), ("/a b", "'/a b'"), ("it's", "'it'\\''s'"), ("$(x)", "'$(x)'"), ("", "''")]
        {
            assert_eq!(quote(word), quoted);
        }
    }
}
