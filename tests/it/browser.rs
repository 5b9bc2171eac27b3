//! Pages as a real browser has them, which can reach nobody.

use std::path::Path;
use std::process::Command;

/// A page is looked at for no longer, in seconds.
const LONGEST_S: &str = "100";

/// What its scripts may take of a clock that waits for nobody, in milliseconds.
const VIRTUAL_TIME: &str = "--virtual-time-budget=200000";

/// Chromium over a page: its output and its complaints.
pub fn chromium(page: &str, args: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, page).unwrap();
    let chromium = Command::new("timeout")
        .args([LONGEST_S, "chromium"])
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", VIRTUAL_TIME])
        .args(args)
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("chromium runs");
    assert!(chromium.status.success(), "{}", chromium.status);
    (String::from_utf8_lossy(&chromium.stdout).into_owned(), String::from_utf8_lossy(&chromium.stderr).into_owned())
}

/// The page once its script ran, and what the console says.
pub fn browsed(page: &str) -> (String, String) {
    let (dom, said) = chromium(page, &["--dump-dom"]);
    let console: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    (dom, console.join("\n"))
}

/// What axe-core objects to in the page with all of it unfolded, light on wide and dark on narrow screens, a line each;
/// empty for nothing.
///
/// Its checks are of the W3C's "Web Content Accessibility Guidelines" and of good practice.
pub fn objections(page: &str) -> String {
    const SAY: &str = "
        document.querySelectorAll('details').forEach(details => details.open = true);
        axe.run().then(({violations, passes}) => {
            const lines = violations.flatMap(({id, nodes}) => nodes.map(({html}) => `${id}: ${html}`));
            const said = document.createElement('pre');
            said.textContent = [`${passes.length} checks passed`, ...lines, 'end'].join('\\n');
            document.documentElement.replaceChildren(said);
        });";
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/axe_playwright_python/axe.min.js");
    let axe = std::fs::read_to_string(axe).expect("axe-core is here; tests/run.sh installs it");
    let scripts = [axe.replace("</script", "<\\/script"), SAY.to_owned()];
    let scripts = scripts.map(|script| format!("<script>{script}</script>")).concat();
    // The policy lets no other script in.
    let (before, policy) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap_or((page, ">"));
    let (_, after) = policy.split_once('>').expect("a tag that ends");
    // Nor may it load itself anew meanwhile.
    let page = format!("{before}{after}").replace("http-equiv=\"refresh\"", "name=\"refresh\"");
    let page = page.replace("</body>", &format!("{scripts}</body>"));
    let screens: [&[&str]; 2] =
        [&["--dump-dom", "--window-size=1200,900"], &["--dump-dom", "--window-size=400,900", "--force-dark-mode"]];
    let screens = screens.map(|screen| {
        let (dom, said) = chromium(&page, screen);
        let lines = dom.split_once("checks passed\n").and_then(|(_, lines)| lines.split_once("end</pre>"));
        lines.unwrap_or_else(|| panic!("axe-core said nothing:\n{said}")).0.to_owned()
    });
    screens.concat()
}
