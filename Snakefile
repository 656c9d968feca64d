# The workflow: rules with their files and commands; everything else is in the package `dhl`.
from snakemake.utils import min_version

min_version("9.19")


# A configuration from the command line is complete: it is not merged with the default.
if "parts" not in config:

    configfile: "config/mini.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        RUN.report,
        RUN.config,
        RUN.claims,
        tables(),
        figures(),
        sensitivity(),
    localrule: True


rule tables:
    input:
        tables(),
    localrule: True


for number in TABLE_PARTS:

    rule:
        name:
            f"table{number.replace('-', '_')}"
        input:
            RUN.table(number),
        localrule: True


onsuccess:
    if RUN.report.exists():
        print(f"The report is {RUN.report}", file=sys.stderr)
    if failed := remove_failed_results():
        raise WorkflowError(
            "Some jobs failed, and the report was made without them:",
            *failed,
            "Correct the cause and run the same command again; complete results are kept.",
        )


onerror:
    print(
        *(f"Failed: {line}" for line in remove_failed_results()),
        (
            "Stopped: complete results, and checkpoints of trainings, are kept. The same command "
            "goes on from there."
            if stopped()
            else "Some jobs failed; their reasons or logs are named above. Correct the cause and run "
            "the same command again; complete results are kept."
        ),
        sep="\n",
        file=sys.stderr,
    )
