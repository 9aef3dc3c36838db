# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration for the site. tests/tools/docs.py (`make docs`) lays out what it reads."""

from docutils import nodes

project = "mailops.dovecot_replication"
author = "The mailops.dovecot_replication contributors"
copyright = author
html_title = "Dovecot replication as code"
language = "en"
# Messages and options stand as they are typed.
smartquotes = False

extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton"]
# In place of the index that is generated there is reference.md.
exclude_patterns = ["docsite", "examples", "requirements.txt", "reference/index.rst"]
nitpicky = True
myst_heading_anchors = 3
# The sample of a plan begins with a heading of second order, as it is for a comment.
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "native"
# Without the prompt, and without what a command has printed.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

# What the generated pages refer to in Ansible's documentation. An inventory of it would have to be fetched.
ANSIBLE = "https://docs.ansible.com/ansible/latest/"
ELSEWHERE = {
    "action_plugins": "plugins/action.html",
    "ansible_collections.ansible.builtin.set_stats_module": "collections/ansible/builtin/set_stats_module.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "ANSIBLE_CALLBACKS_ENABLED": "reference_appendices/config.html#envvar-ANSIBLE_CALLBACKS_ENABLED",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}

COLLECTION = "mailops.dovecot_replication"
LABEL = f"ansible_collections.{COLLECTION}."


def reference_labels(labels):
    """Return what inline code may name of the generated reference: a dict to page and anchor."""
    found = {}
    for label, (page, anchor, *_title) in labels.items():
        name = label.removeprefix(LABEL)
        if name == label:
            continue
        option = name.removeprefix("replication_role__parameter-main__")
        if option != name and "/" not in option:
            found[option] = page, anchor
        for kind in ("_module", "_filter", "_lookup", "_callback", "_role"):
            if name.endswith(kind) and "__" not in name:
                found[f"{COLLECTION}.{name.removesuffix(kind)}"] = page, anchor
                if kind == "_module":
                    found[name.removesuffix(kind)] = page, anchor
    return found


def link_code(app, doctree, page):
    """Link a variable of the role, and the name of a module, in inline code to the reference."""
    if page.startswith("reference"):
        return
    labels = reference_labels(app.env.domaindata["std"]["anonlabels"])
    for node in list(doctree.findall(nodes.literal)):
        target = labels.get(node.astext())
        parent = node.parent
        if target is None or isinstance(parent, (nodes.reference, nodes.title)):
            continue
        uri = app.builder.get_relative_uri(page, target[0]) + f"#{target[1]}"
        link = nodes.reference("", "", refuri=uri, internal=True)
        parent.replace(node, link)
        link += node


def refer_elsewhere(app, env, node, content):
    """Return the link for a reference to Ansible's documentation."""
    page = ELSEWHERE.get(node["reftarget"])
    return page and nodes.reference("", "", content, refuri=ANSIBLE + page, internal=False)


def setup(app):
    app.connect("missing-reference", refer_elsewhere)
    app.connect("doctree-resolved", link_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
