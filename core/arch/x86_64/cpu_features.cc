#include "core/arch/cpu_features.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace mcr::arch {
namespace {

// Names as in the kernel's arch/x86/include/asm/cpufeatures.h. Everything that is in neither table is an instruction,
// or unknown, and is demanded.
constexpr std::string_view kRegisters[] = {"fpu", "mmx",     "fxsr", "sse",   "sse2",     "xsave",
                                           "avx", "avx512f", "pku",  "ospke", "amx_tile", "apx"};

struct Group {
  std::string_view reason;
  std::string_view flags;  // with a blank before and behind each
};
constexpr Group kKernel[] = {
    {"found out or decided by the kernel, no property of the program's instructions",
     " constant_tsc up art always rep_good acc_power nopl xtopology tsc_reliable nonstop_tsc nonstop_tsc_s3 cpuid "
     "extd_apicid amd_dcm aperfmperf rapl tsc_known_freq lfence_rdtsc mfence_rdtsc xsaveerptr cpuid_fault cpb epb "
     "arat hw_pstate proc_feedback pti kaiser rsb_ctxsw retpoline retpoline_amd retpoline_lfence fxsr_opt ht "
     "cmp_legacy topoext nodeid_msr eagerfpu cppc tme ring3mwait hrs irperf amd_lbr_v2 amd_lbr_pmc_freeze perfmon_v2 "
     "split_lock_detect bus_lock_detect "
     "amd_hetero_cores amd_workload_class amd_htr_cores "},
    {"paging, interrupts and modes, used by the kernel alone",
     " vme de pse msr pae mce apic mtrr pge mca pat pse36 pn dts acpi ss tm ia64 pbe nx pdpe1gb lm pcid x2apic "
     "tsc_deadline_timer tsc_adjust smep smap umip invpcid invpcid_single la57 xsaves cr8_legacy extapic k6_mtrr "
     "cyrix_arr "
     "centaur_mcr k8 k7 p3 p4 tce lass fred wrmsrns lkgs pcommit invlpgb wbnoinvd monitor hypervisor vmmcall "
     "user_shstk ibt sdbg osvw svm_lock nrip_save tsc_scale no_nested_data_bp srso_no autoibrs avx_ifma_fast "
     "overflow_recov succor smca fsrs_kernel pconfig ppin intel_ppin amd_ppin "},
    {"a mitigation, or its absence, for which the kernel of each machine decides by itself",
     " ibrs ibpb stibp ssbd ibrs_enhanced virt_ssbd amd_ssbd amd_ssb_no amd_ibrs amd_ibpb amd_stibp "
     "amd_stibp_always_on spec_ctrl md_clear flush_l1d arch_capabilities core_capabilities use_ibpb use_ibrs_fw "
     "spec_store_bypass_disable ibpb_exit_to_user ibpb_ret sbpb ibpb_brtype bhi_ctrl btc_no its_no rrsba_ctrl "
     "rtm_always_abort "
     "tsx_force_abort verw_clear tsa_sq_no tsa_l1_no l1tf srbds_ctrl "},
    {"virtual machines",
     " vmx smx svm tpr_shadow flexpriority vnmi ept vpid ept_ad ept_1gb npt lbrv vmcb_clean flushbyasid decodeassists "
     "pausefilter pfthreshold avic v_vmsave_vmload vgif x2avic v_spec_ctrl x2avic_ext vapic_access v_nmi idle_hlt "
     "skinit tdx_guest "
     "tdx_host_platform sme sev sev_es sev_snp debug_swap svsm "},
    {"counters, tracing and power",
     " arch_perfmon pebs bts dtes64 ds_cpl est tm2 cid xtpr pdcm dca ibs wdt perfctr_core perfctr_nb perfctr_llc bpext "
     "ptsc ida pln pts dtherm hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req hfi intel_pt arch_lbr cqm cqm_llc "
     "cqm_occup_llc cqm_mbm_total cqm_mbm_local brs cat_l3 cat_l2 cdp_l3 cdp_l2 mba rdt_a smba bmec abmc "
     "cat_l3_ coherency_sfw_no "},
    {"only makes the same instructions faster, or is a hint that other CPUs pass over",
     " erms fsrm fzrm fsrs fsrc hle mpx misalign_fast rep_movs "},
    {"needs a device that cannot be saved", " sgx sgx_lc sgx1 sgx2 "},
};

const Group* group_of(std::string_view flag) {
  if (flag.empty() || flag.find(' ') != std::string_view::npos) return nullptr;
  const std::string padded = fmt::format(" {} ", flag);
  const auto* found =
      std::ranges::find_if(kKernel, [&](const Group& g) { return g.flags.find(padded) != std::string_view::npos; });
  return found == std::end(kKernel) ? nullptr : found;
}

}  // namespace

CpuFlag kind_of_flag(std::string_view flag) {
  if (std::ranges::find(kRegisters, flag) != std::end(kRegisters)) return CpuFlag::registers;
  return group_of(flag) ? CpuFlag::kernel : CpuFlag::instructions;
}

std::string_view reason_not_needed(std::string_view flag) {
  const Group* group = group_of(flag);
  return group ? group->reason : std::string_view();
}

std::vector<std::string> missing_flags(const std::vector<std::string>& wanted, const std::set<std::string>& present,
                                       const CpuDemand& demand) {
  std::vector<std::string> missing;
  for (const std::string& flag : wanted) {
    if (present.contains(flag)) continue;
    const CpuFlag kind = kind_of_flag(flag);
    if (demand.exact || (kind == CpuFlag::registers && demand.registers) ||
        (kind == CpuFlag::instructions && demand.instructions))
      missing.push_back(flag);
  }
  return missing;
}

}  // namespace mcr::arch
