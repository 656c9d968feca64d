# Which file comes from which file with which command; everything else is in the package `dhl`.
from snakemake.utils import min_version

min_version("9.19")


# A configuration is whole: one that is named on the command line is not merged with the default.
if not workflow.overwrite_configfiles:

    configfile: "config/mini.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule report:
    default_target: True
    input:
        RUN.report,
    localrule: True


rule all:
    input:
        RUN.report,
        tables(),
        figures(),
        sensitivity(),
        RUN.claims,
    localrule: True


rule tables:
    input:
        tables(),
    localrule: True


for number in TABLE_PARTS:

    rule:
        name:
            f"table{number}"
        input:
            RUN.table(number),
        localrule: True


onstart:
    keep_configuration()


onsuccess:
    if RUN.report.exists():
        print(f"The report is {RUN.report}", file=sys.stderr)
    end_with_failure_if_results_failed()


onerror:
    remove_failed_results()
    print(
        "Some jobs failed; their logs are named above. Finished files are kept: remove the "
        "cause and run the same command again.",
        file=sys.stderr,
    )
