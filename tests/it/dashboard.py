"""Uses the dashboard as people do, with scripts and once more without.

Knows: the address; operators with names and passwords; an order whose mail was refused, and its recipient; a batch for each
time; how many dead letters there are.
"""


def main(browser, known):
    faults = []
    for scripts, batch in zip((True, False), known["batches"], strict=True):
        ann = Person(browser, known["base"], java_script_enabled=scripts)
        ann.sign_in(*known["ann"])
        mail = finds_a_mail(ann, known)
        reads_it(ann, scripts)
        retries_dead_letters(ann, known, scripts)
        pauses_a_lane(ann, scripts)
        cancels(ann, batch)
        if scripts:
            uses_keys(ann)
        stays(ann)
        is_refused(browser, known, mail, scripts, faults)
        leaves(ann, scripts)
        faults += ann.faults
        ann.context.close()
    return {"faults": faults}


def finds_a_mail(ann, known):
    page = ann.page
    rows = page.locator("table.rows tbody tr")
    page.get_by_label("Find mails").fill("to:" + known["recipient"].upper())
    page.get_by_role("button", name="Find").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(known["recipient"])
    page.get_by_label("Query", exact=True).fill(f"order:{known['order']}")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    # A term is added and taken out by links; all values are listed.
    page.get_by_text("All states, classes, lanes and routes").click()
    page.get_by_role("link", name="state:bounced", exact=True).click()
    expect(page.get_by_role("heading", name="No mail fits")).to_be_visible()
    page.get_by_role("link", name="Remove state:bounced").click()
    expect(rows).to_have_count(1)
    link = rows.get_by_role("link")
    path = link.get_attribute("href")
    link.click()
    expect(page).to_have_url(ann.base + path)
    return path


def reads_it(ann, scripts):
    page = ann.page
    for event in ("Recorded", "Attempt 1 over main: permanent", "Settled: failed"):
        expect(page.locator(".line").first).to_contain_text(event)
    expect(page.locator("main")).to_contain_text("There is no such mailbox")
    page.get_by_text("Transcript", exact=True).click()
    expect(page.locator("pre.text")).to_be_visible()
    expect(page.locator("pre.text")).to_contain_text("RCPT TO:<")
    page.get_by_role("link", name="Preview, text, source and headers").click()
    expect(page.frame_locator("iframe").locator("body")).to_contain_text(re.compile(r"\w"))
    if scripts:
        page.get_by_role("button", name="As on a phone").click()
        expect(page.locator("#stage")).to_have_class(re.compile("narrow"))
    page.get_by_role("link", name="Source").click()
    expect(page.locator("pre.text")).to_contain_text("Message-ID: <")


def retries_dead_letters(ann, known, scripts):
    page = ann.page
    page.goto("/dead-letters")
    page.get_by_role("button", name="Retry all of class connection").first.click()
    expect(page.locator("#action")).to_contain_text(re.compile(r"[\d,]+\+? mails\."))
    page.get_by_role("button", name="Confirm: do it").click()
    expect(page.locator("#action .badge")).to_have_text(re.compile("running"))
    please("plant more dead letters")

    def count():
        told = re.search(r"([\d,]+) done", page.locator("#action").inner_text())
        return int(told.group(1).replace(",", "")) if told else 0

    while count() == 0:
        # With a script the page tells it by itself.
        page.wait_for_timeout(50) if scripts else page.reload()
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator("#action .badge")).to_have_text(re.compile("stopped"))
    # The step that was under way is finished.
    page.wait_for_timeout(2_000)
    page.reload()
    done = count()
    assert 0 < done < known["planted"], done
    page.wait_for_timeout(1_000)
    page.reload()
    assert count() == done, "a stopped action does nothing"
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    page.goto("/mails?q=to:@late.example+state:failed")
    expect(page.locator("main")).to_contain_text("100 mails")
    please("forget the late ones")
    page.goto("/actions")
    expect(page.locator("table.rows tbody tr").first).to_contain_text("operator:ann")


def pauses_a_lane(ann, scripts):
    other = ann.open()
    other.goto("/queue")
    row = lambda page: page.locator("#lanes tbody tr", has_text="callback")
    if scripts:
        expect(other.locator("#live-state")).to_have_text("Live")
    ann.page.goto("/queue")
    row(ann.page).get_by_role("button", name="Pause").click()
    expect(ann.page.locator(".said.done")).to_contain_text("The lane callback is paused.")
    if not scripts:
        other.reload()
    expect(row(other)).to_contain_text("paused")
    row(other).get_by_role("button", name="Resume").click()
    expect(other.locator(".said.done")).to_contain_text("The lane callback goes on.")
    while not scripts and "flows" not in row(other).inner_text():
        other.reload()
    expect(row(other)).to_contain_text("flows")
    if scripts:
        other.get_by_role("button", name="Pause", exact=True).first.click()
        expect(other.locator("#live-state")).to_have_text("Paused")
    other.close()


def cancels(ann, batch):
    page = ann.page
    page.goto(f"/batches/{batch}")
    page.get_by_role("button", name="Cancel the batch").click()
    expect(page.locator("#batch h2 .badge")).to_have_text(re.compile("cancelled"))


def uses_keys(ann):
    page = ann.page
    page.goto("/mails")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.locator("#query").press_sequentially("-state:fa")
    expect(page.locator("#keys-of-queries option")).to_have_count(1)
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("table.rows tbody tr").first.get_by_role("link")).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.get_by_label("Single keys do something").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single keys do something").check()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page).to_have_url(ann.base + "/")


def stays(ann):
    """The session's end is said before it comes, and put off."""
    please("let the sessions end soon")
    page = ann.page
    page.goto("/merchants")
    expect(page.locator("#session-ends")).to_contain_text("Your session ends in")
    page.get_by_role("button", name="Stay signed in").click()
    expect(page).to_have_url(ann.base + "/merchants")
    expect(page.locator(".said.done")).to_contain_text("twelve hours")
    expect(page.locator("#session-ends")).to_be_hidden()


def is_refused(browser, known, mail, scripts, faults):
    people = {}
    for name in ("vic", "tom"):
        people[name] = Person(browser, known["base"], java_script_enabled=scripts)
        people[name].sign_in(*known[name])
        people[name].is_strict = False
    send = lambda who, path, **form: who.context.request.post(path, form=form, max_redirects=0).status
    token = lambda who: who.page.locator("form[action='/logout'] input[name=csrf]").get_attribute("value")

    vic = people["vic"]
    vic.page.goto(mail)
    expect(vic.page.locator("h1")).to_contain_text("r••@")
    expect(vic.page.locator("main form.act button:visible")).to_have_count(0)
    assert send(vic, mail + "/retry", csrf=token(vic)) == 403
    vic.page.goto(mail + "/content")
    expect(vic.page.get_by_role("heading", name="Not allowed")).to_be_visible()

    tom = people["tom"]
    tom.page.goto(f"/mails?q=order:{known['order']}")
    expect(tom.page.get_by_role("heading", name="No mail fits")).to_be_visible()
    own = token(tom)
    assert send(tom, mail + "/retry", csrf=own) == 404
    assert send(tom, "/queue/pause", csrf=own, kind="lane", name="bulk") == 403
    for path, heading in ((mail, "Not found"), (mail + "/preview", "Not found"), ("/routes", "Not allowed")):
        tom.page.goto(path)
        expect(tom.page.get_by_role("heading", name=heading)).to_be_visible()

    # No token, and that of another.
    assert send(tom, "/queue/pause", kind="merchant", name="ink-co") == 403
    assert send(vic, "/queue/pause", csrf=own, kind="lane", name="bulk") == 403
    for person in people.values():
        faults += person.faults
        person.context.close()


def leaves(ann, scripts):
    """Signs out in one tab; what the other still shows does nothing."""
    other = ann.open()
    other.goto("/queue")
    ann.page.locator(".who summary").click()
    ann.page.get_by_role("button", name="Sign out").click()
    expect(ann.page).to_have_url(ann.base + "/login")
    ann.is_strict = False
    if scripts:
        expect(other.locator("#live-state")).to_have_text("Session ended")
    other.locator("#lanes tbody tr", has_text="callback").get_by_role("button", name="Pause").click()
    expect(other.get_by_role("heading", name="Sign in first")).to_be_visible()
    ann.page.goto("/queue")
    expect(ann.page.get_by_role("heading", name="Sign in")).to_be_visible()


run(main)
